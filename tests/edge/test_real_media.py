"""Real files of camera traps: the right way up, in the right colours, at plausible times."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from edge import media
from edge.decoding.decoder import decode
from edge.errors import MediaError
from edge.preprocess import InputSpec, resize

from ..media_files import WANTED

pytestmark = pytest.mark.data
LOOK = replace(WANTED, look_side=256)
TIMES = {
    "african_elephants.jpg": datetime(2010, 8, 4, 8, 43, 15),
    "african_elephants_with_exif_orientation.jpg": datetime(2010, 8, 4, 8, 43, 15),
    "blank.jpg": datetime(2016, 9, 25, 18, 35, 10),
    "human.jpg": datetime(2024, 1, 21, 15, 19, 15),
    "american_black_bear.jpg": None,
}


def _look(path: Path) -> NDArray[np.uint8]:
    look = decode(path.read_bytes(), LOOK).views[0].look_HWC
    assert look is not None
    return look


def _pictures(shared: Path) -> list[Path]:
    folder = shared / "camera-trap"
    found = [*folder.glob("speciesnet/*.jpg"), *folder.glob("camtrap-dp-example/media/*.JPG")]
    return sorted(path for path in found if "truncated" not in path.name)


def test_pictures_look_as_pillow_shows_them(shared: Path) -> None:
    """Rotated, grey and CMYK ones too, at every scale a decoder may choose."""
    for path in _pictures(shared):
        look = _look(path)
        with PillowImage.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        size = (look.shape[1], look.shape[0])
        expected = np.asarray(upright.resize(size, PillowImage.Resampling.BOX), np.float32)
        # Conversions of CMYK to RGB differ; a negative would differ by far more.
        allowed = 25 if "cmyk" in path.name else 3
        assert np.abs(expected - look).mean() < allowed, path.name


def test_the_rotated_picture_is_the_upright_one(shared: Path) -> None:
    folder = shared / "camera-trap/speciesnet"
    turned = _look(folder / "african_elephants_with_exif_orientation.jpg").astype(np.float32)
    plain = _look(folder / "african_elephants.jpg").astype(np.float32)
    assert turned.shape == plain.shape
    assert np.abs(turned - plain).mean() < 12


def test_times_are_those_of_the_cameras(shared: Path) -> None:
    for name, moment in TIMES.items():
        done = decode((shared / "camera-trap/speciesnet" / name).read_bytes(), WANTED)
        assert (name, done.facts.captured_at) == (name, moment)
        assert done.time_source == (None if moment is None else "exif")
    burst = sorted((shared / "camera-trap/camtrap-dp-example/media").glob("*.JPG"))
    moments = [decode(path.read_bytes(), WANTED).facts for path in burst]
    assert moments[0].captured_at == datetime(2021, 4, 11, 20, 43, 9)
    assert [one.camera for one in moments] == ["HYPERFIRE 2 COVERT"] * len(burst)
    times = [one.captured_at for one in moments if one.captured_at is not None]
    assert times == sorted(times)


def test_the_truncated_picture_is_refused(shared: Path) -> None:
    path = shared / "camera-trap/speciesnet/african_elephants_truncated_file.jpg"
    with pytest.raises(MediaError, match="truncated"):
        decode(path.read_bytes(), WANTED)


@pytest.mark.parametrize(
    ("name", "size", "num_frames", "seconds"),
    [("04250002.MP4", (106, 60), 61, 61), ("EK000019.AVI", (106, 60), 61, 61),
     ("09190048_Hyena.AVI", (80, 60), 15, 15), ("chimp.mp4", (320, 180), 450, 15)],
)  # fmt: skip
def test_clips_are_sampled(
    shared: Path, name: str, size: tuple[int, int], num_frames: int, seconds: float
) -> None:
    done = decode((shared / "camera-trap/clips" / name).read_bytes(), WANTED)
    assert ((done.width, done.height), done.num_frames, done.damage) == (size, num_frames, None)
    assert done.duration_seconds == pytest.approx(seconds, abs=0.5)
    assert min(seconds, 32) - 1 <= len(done.views) <= 64


def test_an_embedding_cannot_tell_the_reduced_decode(shared: Path) -> None:
    """The encoder's pixels, centred, of the reduced against the whole decode."""
    spec = InputSpec(height=256, width=256, resize="squash", pad_value=0)
    wanted = replace(WANTED, spec=spec)
    cosines = []
    for path in _pictures(shared):
        data = path.read_bytes()
        (cut,) = decode(data, wanted).views[0].cuts
        assert cut is not None
        whole = resize(media.decode(data).image_HWC, spec).astype(np.float64)
        one, two = whole - whole.mean(), cut.encoder_HWC - whole.mean()
        cosines.append((one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum()))
    assert np.mean(cosines) >= 0.999


@pytest.mark.fault
@pytest.mark.timeout(1200)
def test_flipped_bits_are_found_and_intact_pictures_left_alone(shared: Path) -> None:
    """FAULTS R8: of 1,500 intact files at most 0.5 % flagged; 80 % of the flips that show."""
    animals = [p for p in (shared / "data").rglob("*.jpg") if p.stat().st_size > 12_000]
    others = random.Random(3).sample(sorted(animals), 1500)
    flagged = [p.name for p in _pictures(shared) + others if decode(p.read_bytes(), WANTED).damage]
    rng = random.Random(8)
    found = {"camera": [0, 0], "crops": [0, 0]}
    for kind, paths, number in (("camera", _pictures(shared), 40), ("crops", others[:200], 5)):
        for path in paths:
            data = path.read_bytes()
            whole = _look(path).astype(np.int16)
            for _ in range(number):
                body = bytearray(data)
                body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
                try:
                    done = decode(bytes(body), LOOK)
                except MediaError:
                    continue
                look = done.views[0].look_HWC
                assert look is not None
                if look.shape != whole.shape:
                    continue
                if (np.abs(look - whole).max(axis=2) > 8).mean() > 0.05:
                    found[kind][0] += 1
                    found[kind][1] += done.damage is not None
    share = {kind: hit / seen for kind, (seen, hit) in found.items()}
    num_intact = len(_pictures(shared) + others)
    print(f"\nintact {num_intact}, flagged {flagged}; shown and found {found}: {share}")
    assert len(flagged) <= 0.005 * num_intact
    assert share["camera"] >= 0.8
