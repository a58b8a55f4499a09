"""Scaled decoding: what it saves, and that an encoder cannot tell.

    python benchmarks/decode.py --shared CAMERA_TRAP --weights FOLDER --out results/decode

Speed: drawn photos of 12 megapixels and the largest real pictures, from bytes to the encoder's
input, in turns by one thread: Pillow's full decode and resize, cv2's full decode and area
averaging, the device's own way. No scale saves the entropy decoding, so the gain depends on the
bits a pixel, which are told. Fidelity: real pictures, whole and in boxes, by an encoder with real
weights: cosine of the device's crops to those of a full decode averaged by area at once. Writes
decode.json.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import cv2
import machine
import numpy as np
import torch
import typer
from machine import ratio, write_json
from photos import draw_scenes, with_time
from PIL import Image
from runs import require_folders, weights_file

from edge.decoding import decoder
from edge.decoding.decoder import Wanted
from edge.decoding.exif import read_exif
from edge.decoding.header import read_header
from edge.detect import WHOLE_FRAME_ANIMAL, Box, FoundObject
from edge.errors import MediaError
from edge.media import decode as decode_fully
from edge.media import decode_stored
from edge.preprocess import InputSpec, crop, resize
from trainer.backbone import load_backbone
from trainer.encoder import Encoder, embed

BACKBONE = "mobilenetv2_100"
SIZES = ((256, 128), (224, 224))
_BOXES = 60  # drawn at random on each real picture; most are too small to be reduced
_LARGE_PIXELS = 6_000_000  # of a real picture whose decoding is timed
_WANTED = {"times": 5.0, "mean": 0.999, "low": 0.995}


def main(
    shared: Annotated[Path, typer.Option(help="Folder of real camera-trap pictures.")],
    weights: Annotated[Path, typer.Option(help="Folder with mobilenetv2_100*.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")],
    rounds: Annotated[int, typer.Option()] = 5,
) -> None:
    """Measure, write, print."""
    require_folders(shared, weights)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    speed = {name: _speed(some, rounds) for name, some in _timed_photos(shared).items()}
    fidelity = _fidelity(shared, weights)
    write_json(
        out / "decode.json",
        {"machine": machine.describe(), "speed": speed, "fidelity": fidelity, "wanted": _WANTED},
    )
    print("| photos | from bytes to the encoder's input | ms | times as fast as Pillow |")
    print("|---" * 4 + "|")
    for what, ways in speed.items():
        for name, one in ways.items():
            print(f"| {what} | {name} | {one['ms']:.1f} | {one['times']:.1f} |")
    print(
        "\n| input | what | crops | cosine, mean | 1st percentile | lowest |\n" + "|---" * 6 + "|"
    )
    for one in fidelity:
        print(
            f"| {one['input']} | {one['what']} | {one['crops']} | {one['mean']:.5f} "
            f"| {one['low']:.5f} | {one['lowest']:.5f} |"
        )


def _timed_photos(shared: Path) -> dict[str, list[bytes]]:
    """By a name that tells how many there are, their size and their bits a pixel."""
    drawn = [with_time(one, datetime(2026, 5, 1)) for one in draw_scenes(2, 8)]
    real = [data for _, data in _pictures(shared) if _num_pixels(data) >= _LARGE_PIXELS]
    return {_described(name, some): some for name, some in (("drawn", drawn), ("real", real))}


def _num_pixels(data: bytes) -> int:
    head = read_header(data)
    return head.width * head.height


def _described(name: str, photos: list[bytes]) -> str:
    pixels = statistics.mean(_num_pixels(one) for one in photos)
    bits = 8 * statistics.mean(len(one) for one in photos) / pixels
    return f"{len(photos)} {name}, {pixels / 1e6:.0f} megapixels, {bits:.1f} bits a pixel"


def _speed(photos: list[bytes], rounds: int) -> dict[str, Any]:
    """Processor time, which other programs disturb less than the clock."""
    spec = InputSpec(height=256, width=256, resize="squash", pad_value=0)
    wanted = _wanted(spec, (WHOLE_FRAME_ANIMAL,))
    head = read_header(photos[0])
    ways: dict[str, Callable[[bytes], object]] = {
        "Pillow, full": lambda data: _pillow(data, spec),
        "cv2, full, by area": lambda data: _cv2(data, spec, cv2.IMREAD_COLOR),
        "cv2, as far reduced as here": lambda data: _cv2(
            data, spec, _reduced(decoder.scale_for(wanted, head.width, head.height))
        ),
        "edge, decode and resize": lambda data: _edge(data, wanted),
        "edge, with its checks, quality and copy": lambda data: decoder.decode(data, wanted),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for data in photos:
            for name, way in ways.items():
                began = time.process_time()
                way(data)
                times[name].append(time.process_time() - began)
    slow = times["Pillow, full"]
    return {
        name: {"ms": 1000 * statistics.median(one), "times": ratio(slow, one)}
        for name, one in times.items()
    }


def _edge(data: bytes, wanted: Wanted) -> np.ndarray:
    head = read_header(data)
    scale = decoder.scale_for(wanted, head.width, head.height)
    return resize(decode_stored(data, head, scale), wanted.spec)


def _reduced(scale: int) -> int:
    return {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8}[scale]  # fmt: skip


def _pillow(data: bytes, spec: InputSpec) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((spec.width, spec.height), Image.Resampling.BILINEAR))


def _cv2(data: bytes, spec: InputSpec, flags: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert image is not None
    return cv2.resize(image, (spec.width, spec.height), interpolation=cv2.INTER_AREA)


def _wanted(spec: InputSpec, objects: tuple[FoundObject, ...]) -> Wanted:
    return Wanted(spec=spec, objects=objects, look_side=None)


def _fidelity(shared: Path, weights: Path) -> list[dict[str, Any]]:
    rows = []
    for height, width in SIZES:
        spec = InputSpec(height=height, width=width, resize="squash", pad_value=0)
        file = str(weights_file(weights, BACKBONE))
        loaded = load_backbone(BACKBONE, file, height, width)
        encoder = Encoder(loaded.spec, loaded.module).eval()
        pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"whole frames": [], "boxes": []}
        for path, data in _pictures(shared):
            boxes = [WHOLE_FRAME_ANIMAL, *_boxes(shared, path)]
            for number, found in enumerate(boxes):
                pair = _pair(data, found, spec)
                if pair is not None:
                    pairs["boxes" if number else "whole frames"].append(pair)
        for what, some in pairs.items():
            here, there = (np.stack([pair[side] for pair in some]) for side in (0, 1))
            cpu = torch.device("cpu")
            cosine = np.sum(embed(encoder, here, cpu) * embed(encoder, there, cpu), axis=1)
            rows.append(
                {
                    "input": f"{height}x{width}",
                    "what": what,
                    "crops": len(some),
                    "mean": float(cosine.mean()),
                    "low": float(np.quantile(cosine, 0.01)),
                    "lowest": float(cosine.min()),
                }
            )
    return rows


def _pair(data: bytes, found: FoundObject, spec: InputSpec) -> tuple[np.ndarray, np.ndarray] | None:
    """(the device's crop, that of a full decode averaged at once); None where none is reduced."""
    wanted = _wanted(spec, (found,))
    head = read_header(data)
    is_sideways = read_exif(head.exif).orientation >= 5
    size = (head.height, head.width) if is_sideways else (head.width, head.height)
    if decoder.scale_for(wanted, *size) == 1:
        return None
    (cut,) = decoder.decode(data, wanted).views[0].cuts
    assert cut is not None
    full = crop(decode_fully(data).image_HWC, found.box)
    at_once = cv2.resize(full, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return cut.encoder_HWC, np.asarray(at_once, np.uint8)


def _pictures(shared: Path) -> Iterator[tuple[Path, bytes]]:
    """Real JPEGs that the device takes."""
    for path in sorted([*shared.glob("speciesnet/*.jpg"), *shared.glob("*/media/*.JPG")]):
        data = path.read_bytes()
        try:
            decode_fully(data)
        except MediaError:
            continue
        yield path, data


def _boxes(shared: Path, path: Path) -> list[FoundObject]:
    """Those set by hand, and drawn ones of all sizes."""
    with (shared / "boxes.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if shared / row["path"] == path]
    sides = [tuple(float(row[key]) for key in ("x", "y", "width", "height")) for row in rows]
    rng = np.random.default_rng(sum(path.name.encode()))
    for _ in range(_BOXES):
        width, height = rng.uniform(0.1, 0.9, 2)
        sides.append((rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height))
    return [
        replace(WHOLE_FRAME_ANIMAL, box=Box(x=x, y=y, width=width, height=height, relative=True))
        for x, y, width, height in sides
    ]


if __name__ == "__main__":
    typer.run(main)
