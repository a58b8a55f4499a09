"""Drawn photos as a camera with 12 megapixels leaves them: scenery, sensor noise, EXIF time.

What they show means nothing; their size, detail and bytes are a camera's. A few scenes are drawn
and compressed; each is then written several times with another time in its EXIF and other steps
of its coarse detail, so that a large folder takes seconds in which all files and all pixels differ.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from trainer.scenery import cloud, draw_scene

WIDTH, HEIGHT = 4000, 3000
_QUALITY = 87
_DRAWN = 4  # a scene is drawn at a fraction of the size; detail comes from grain and noise
_GRAIN, _NOISE = 10.0, 3.6  # grey levels: leaves and fur, a sensor by daylight
_BURST = 3  # pictures, a second apart
_EXIF_IFD, _MODEL, _DATE_TIME_ORIGINAL = 0x8769, 0x0110, 0x9003
_FIRST = datetime(2026, 5, 1, 6, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Photos:
    """A folder as an inbox has it, one sub-folder a camera."""

    folder: Path
    paths: list[Path]
    boxes: Path  # what a detector would have found, as MegaDetector writes it

    @property
    def mean_megabytes(self) -> float:
        return sum(one.stat().st_size for one in self.paths) / len(self.paths) / 1e6


def make_photos(folder: Path, seed: int, num_scenes: int, num_photos: int) -> Photos:
    """The photos of `seed`; those that are there already are kept."""
    paths = [
        folder / "inbox" / f"camera{number % 4}" / f"IMG_{number:05d}.JPG"
        for number in range(num_photos)
    ]
    if not all(one.is_file() for one in paths):
        scenes = list(draw_scenes(seed, num_scenes))
        for number, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            turn, scene = divmod(number, num_scenes)
            path.write_bytes(with_time(with_other_pixels(scenes[scene], turn), _time(number)))
    return Photos(folder=folder / "inbox", paths=paths, boxes=_boxes(folder, paths, seed))


def draw_scenes(seed: int, num: int) -> Iterator[bytes]:
    """JPEGs of 12 megapixels without EXIF."""
    noise_HW = _noise(np.random.default_rng(seed))
    for number in range(num):
        rng = np.random.default_rng((seed, number))
        done, jpeg = cv2.imencode(
            ".jpg", _scene(rng, noise_HW)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )
        assert done
        yield jpeg.tobytes()


def draw_small(folder: Path, num_animals: int, num_pictures: int) -> None:
    """Small pictures in one folder an animal, to be enrolled; those that are there are kept."""
    for number in range(num_animals * num_pictures):
        animal, picture = divmod(number, num_pictures)
        path = folder / f"animal{animal:02d}" / f"{picture}.jpg"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            scene_HWC = draw_scene(np.random.default_rng((7, number)), 384, 512).base_HWC
            done, jpeg = cv2.imencode(".jpg", scene_HWC[..., ::-1].clip(0, 255).astype(np.uint8))
            assert done
            path.write_bytes(with_time(jpeg.tobytes(), _time(100 * number)))


def with_other_pixels(jpeg: bytes, turn: int) -> bytes:
    """The JPEG with up to three steps more for each of its coarsest waves; for 64 turns another.

    No bit of its data changes; all pixels do, also reduced ones (ITU-T T.81, B.2.4.1 and A.3.6).
    """
    table = jpeg.index(b"\xff\xdb") + 5  # marker, length, number of the table
    changed = bytearray(jpeg)
    changed[table + 1] += turn % 4
    changed[table + 2] += turn // 4 % 4
    changed[table + 4] += turn // 16 % 4
    return bytes(changed)


def with_time(jpeg: bytes, moment: datetime) -> bytes:
    """The JPEG with an EXIF block that holds this time and a camera's name."""
    exif = Image.Exif()
    exif[_MODEL] = "DRAWN 12"
    exif.get_ifd(_EXIF_IFD)[_DATE_TIME_ORIGINAL] = f"{moment:%Y:%m:%d %H:%M:%S}"
    block = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def _time(number: int) -> datetime:
    """Of the camera's own bursts, ten minutes apart."""
    burst, frame = divmod(number // 4, _BURST)
    return _FIRST + timedelta(minutes=10 * burst, seconds=frame)


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Grain at two sizes and sensor noise, larger than a photo so that any part of it will do."""
    shape = (HEIGHT + 512, WIDTH + 512)
    fine_HW = rng.standard_normal(shape, np.float32)
    coarse_HW = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 1.4)
    coarse_HW = np.asarray(coarse_HW / coarse_HW.std(), np.float32)
    return np.stack([_NOISE * fine_HW, _GRAIN * coarse_HW], axis=-1)


def _scene(rng: np.random.Generator, noise_HW2: np.ndarray) -> np.ndarray:
    small_HWC = draw_scene(rng, HEIGHT // _DRAWN, WIDTH // _DRAWN).base_HWC
    large_HWC = cv2.resize(small_HWC, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    top, left = rng.integers(0, 512, 2)
    part_HW2 = noise_HW2[top : top + HEIGHT, left : left + WIDTH]
    # Detail is not the same everywhere: sky and blurred background have little of it.
    share_HW = np.clip(0.55 + 0.45 * cloud(rng, HEIGHT // 8, WIDTH // 8, 9), 0.05, 1.4)
    share_HW = cv2.resize(share_HW, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    detail_HW = rng.uniform(0.9, 1.5) * (part_HW2[..., 0] + share_HW * part_HW2[..., 1])
    return np.clip(large_HWC + detail_HW[..., None], 0, 255).astype(np.uint8)


def _boxes(folder: Path, paths: list[Path], seed: int) -> Path:
    """One animal a photo, sometimes two, from a fifth to a half of its side."""
    rng = np.random.default_rng((seed, 1))
    images = []
    for path in paths:
        found = []
        for _ in range(1 + int(rng.random() < 0.2)):
            width, height = rng.uniform(0.2, 0.5, 2)
            x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
            bbox = [round(float(one), 4) for one in (x, y, width, height)]
            found.append({"category": "1", "conf": 0.9, "bbox": bbox})
        name = path.relative_to(folder / "inbox").as_posix()
        images.append({"file": name, "detections": found})
    path = folder / "boxes.json"
    categories = {"1": "animal", "2": "person", "3": "vehicle"}
    path.write_text(
        json.dumps({"images": images, "detection_categories": categories, "info": {}}),
        encoding="utf-8",
    )
    return path
