"""How well animals are found: by motion, and by a small detector file.

    python benchmarks/detect.py --shared ../shared/camera-trap --out benchmarks/results/detect

Motion is measured on synthetic worlds from `--first` on, which had no part in its making (1 to 5
had, and the figures of 901 and 902); one CSV row a world and light, resumable. A frame counts as
found where a box overlaps the animal's by IoU >= 0.3; a camera's first events count too. An encoder
trained without labels on the first world then names the animals of every world's inbox, with drawn
boxes and with those of motion (`detect_names.py`). Real pictures and clips are drawn with their
boxes below `--out`, to be looked at.
"""

from __future__ import annotations

import csv
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from boxes import iou
from detect_clips import show_clips
from detect_names import COLUMNS, name_rows, show_names, train_encoder
from runs import read, write

from edge import media, preprocess
from edge.decoding.clips import Clip
from edge.detect import Box, FoundObject, box_of
from edge.detection.boxes_file import BoxesFile
from edge.detection.detector import open_detector
from edge.detection.detector_proposal import propose
from edge.detection.detector_spec import to_json
from edge.detection.motion import LOOK_SIDE, MIN_CONFIDENCE, Found, Look, Motion
from edge.preprocess import Image
from trainer.synthetic import draw_world

_FOUND = 0.3  # IoU
_LIGHTS = ("day", "dusk", "infrared")
_MOTION_COLUMNS = (
    "seed",
    "light",
    "frames",
    "found",
    "median_iou",
    "blanks",
    "blanks_with_box",
    "ms",
)
_BARS = "found >= 95 %, median IoU >= 0.60, blanks with a box <= 10 %"
_BLANKS = ("blank", "blank2", "blank3")


@dataclass(frozen=True, kw_only=True)
class _Scored:
    light: str
    is_blank: bool
    iou: float  # of the best box
    num_boxes: int


def main(
    out: Annotated[Path, typer.Option(help="Folder for tables and drawn pictures.")],
    shared: Annotated[Path, typer.Option(help="Real camera-trap pictures and a detector.")],
    first: Annotated[int, typer.Option(min=0, help="First world seed.")] = 903,
    worlds: Annotated[int, typer.Option(min=1, help="Number of worlds.")] = 5,
) -> None:
    """Measure what is not in the tables yet, and print them."""
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(first, first + worlds)
    motion, names = read(out / "motion.csv"), read(out / "names.csv")
    model = out / f"encoder-{first}" / "model.onnx"
    for seed in seeds:
        _measure(out, seed, model, motion, names)
    _show_motion(motion)
    show_names(names)
    show_clips(20, shared / "clips")
    if not shared.is_dir():
        print(f"{shared} is not there: nothing is measured on real pictures")
        return
    _real_motion(shared, out)
    _yolox(shared, out)


def _measure(
    out: Path, seed: int, model: Path, motion: list[dict[str, str]], names: list[dict[str, str]]
) -> None:
    """What is not in the tables yet of this world; the first world also teaches the encoder."""
    has_motion, has_names = (str(seed) in {row["seed"] for row in rows} for rows in (motion, names))
    is_first = model.parent.name == f"encoder-{seed}"
    if has_motion and has_names and (model.is_file() or not is_first):
        return
    root = out / f"world-{seed}"
    shutil.rmtree(root, ignore_errors=True)  # of a run that was interrupted
    draw_world(root, seed)
    if not has_motion:
        motion += _world_rows(root, seed)
        write(out / "motion.csv", _MOTION_COLUMNS, motion)
    if is_first and not model.is_file():
        train_encoder(root, model.parent, seed)
    if not has_names:
        names += name_rows(root, seed, model, out / f"names-{seed}")
        write(out / "names.csv", COLUMNS, names)
    shutil.rmtree(root)


# Motion on drawn worlds


def _world_rows(root: Path, seed: int) -> list[dict[str, str]]:
    started = time.process_time()
    scored = list(_watch_world(root))
    ms = 1000 * (time.process_time() - started) / len(scored)
    rows = []
    for light in _LIGHTS:
        seen = [one for one in scored if one.light == light and not one.is_blank]
        blanks = [one for one in scored if one.light == light and one.is_blank]
        values = (
            seed, light, len(seen), sum(one.iou >= _FOUND for one in seen),
            f"{statistics.median(one.iou for one in seen):.3f}", len(blanks),
            sum(one.num_boxes > 0 for one in blanks), f"{ms:.1f}",
        )  # fmt: skip
        rows.append({key: str(value) for key, value in zip(_MOTION_COLUMNS, values, strict=True)})
    return rows


def _watch_world(root: Path) -> Iterator[_Scored]:
    """The train and inbox parts, a camera after the other, an event at a time."""
    boxes = {part: BoxesFile(root / f"{part}-boxes.json") for part in ("train", "inbox")}
    with (root / "truth.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] in boxes]
    motion = Motion({})
    for (part, camera, _), event in groupby(
        rows, key=lambda row: (row["part"], Path(row["path"]).parent.name, row["encounter"])
    ):
        shots = list(event)
        looks = [
            Look(
                key=row["path"],
                captured_at=datetime.fromisoformat(row["timestamp"]),
                image_HWC=_picture(root / part / row["path"]),
            )
            for row in shots
        ]
        for row, found in zip(shots, motion.look(camera, looks), strict=True):
            truth = boxes[part].find(row["path"]) or []
            sure = _sure(found)
            yield _Scored(
                light=row["light"],
                is_blank=not truth,
                iou=max((iou(one, t.box) for one in sure for t in truth), default=0.0),
                num_boxes=len(sure),
            )


def _show_motion(rows: Sequence[dict[str, str]]) -> None:
    print(f"motion on {len({row['seed'] for row in rows})} drawn worlds ({_BARS})")
    for light in _LIGHTS:
        mine = [row for row in rows if row["light"] == light]
        num, found, blanks, boxed = (
            sum(int(row[key]) for row in mine)
            for key in ("frames", "found", "blanks", "blanks_with_box")
        )
        medians = [float(row["median_iou"]) for row in mine]
        print(
            f"  {light:9} found {100 * found / num:5.1f} % of {num}, median IoU "
            f"{min(medians):.2f} to {max(medians):.2f}, blanks with a box {boxed} of {blanks}"
        )
    print(f"  {statistics.mean(float(row['ms']) for row in rows):.1f} ms a frame, reading included")


# Motion on real pictures


def _real_motion(shared: Path, out: Path) -> None:
    truth = _truth(shared)
    burst = sorted((shared / "camtrap-dp-example" / "media").glob("*.JPG"))
    start = datetime(2021, 5, 31)
    looks = [
        _look(f"camtrap-dp-example/media/{path.name}", start + timedelta(seconds=at / 3), path)
        for at, path in enumerate(burst)
    ]
    found = Motion({}).look("burst", looks)
    _draw(out / "motion-burst.png", looks, found)
    ious = [
        max((iou(box, t) for box in _sure(one) for t in truth[one.key]), default=0.0)
        for one in found
        if one.key in truth
    ]
    words = ", ".join(f"{one:.2f}" for one in ious)
    print(f"motion on the night burst, without a background: {_told(found)}; IoU {words}")
    for name in _BLANKS:
        look = _look(name, start, shared / "speciesnet" / f"{name}.jpg")
        (one,) = found = Motion({}).look(name, [look])
        _draw(out / f"motion-{name}.png", [look], found)
        print(f"motion on {name} alone, without a background: blank score {one.blank_score:.2f}")
    for path in sorted((shared / "clips").iterdir()):
        clip = Clip(path.read_bytes())
        looks = [
            Look(
                key=str(sample.frame_ms),
                captured_at=start + timedelta(milliseconds=sample.frame_ms),
                image_HWC=preprocess.fit_within(sample.image_HWC, LOOK_SIDE),
            )
            for sample in clip.samples()
        ]
        clip.close()
        found = Motion({}).look(path.name, looks)
        _draw(out / f"motion-{path.stem}.png", looks, found)
        print(f"motion on the clip {path.name}: {_told(found)}")


def _told(found: Sequence[Found]) -> str:
    boxed = sum(bool(_sure(one)) for one in found)
    return f"{boxed} of {len(found)} frames with a box"


def _look(key: str, at: datetime, path: Path) -> Look:
    return Look(key=key, captured_at=at, image_HWC=_picture(path))


def _picture(path: Path) -> Image:
    return preprocess.fit_within(media.decode(path.read_bytes()).image_HWC, LOOK_SIDE)


def _draw(path: Path, looks: Sequence[Look], found: Sequence[Found]) -> None:
    """All frames on one sheet; sure boxes yellow, others red."""
    tiles = []
    for look, one in zip(looks, found, strict=True):
        tile = look.image_HWC.copy()
        height, width = tile.shape[:2]
        for each in one.objects:
            box, sure = each.box, each.confidence is None or each.confidence >= MIN_CONFIDENCE
            corner = (int(box.x * width), int(box.y * height))
            far = (int((box.x + box.width) * width) - 1, int((box.y + box.height) * height) - 1)
            cv2.rectangle(tile, corner, far, (255, 255, 0) if sure else (255, 0, 0), 1)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 6)
    sheet = np.vstack([np.hstack(tiles[at : at + 6]) for at in range(0, len(tiles), 6)])
    cv2.imwrite(str(path), sheet[:, :, ::-1])


# A small detector file


def _yolox(shared: Path, out: Path) -> None:
    detector = out / "yolox.onnx"
    shutil.copyfile(shared / "detector" / "yolox_nano_416.onnx", detector)
    proposed = propose(detector.read_bytes()).spec  # the types of COCO's ten animals
    few = {name: kind for name, kind in proposed.types.items() if name in ("bird", "elephant")}
    others = {name: kind for name, kind in proposed.types.items() if kind != "animal"}
    for types, least in ((few | others, 0.1), (proposed.types, 0.3)):
        spec = replace(proposed, types=types, min_confidence=least)
        detector.with_suffix(".json").write_text(to_json(spec), encoding="utf-8")
        animals = [name for name, kind in types.items() if kind == "animal"]
        opened = open_detector(detector)
        print(f"YOLOX-nano, {', '.join(animals)} from {least} on:")
        for path, boxes in _truth(shared).items():
            found = _animals(opened.find(_whole(shared / path)))
            ious = [max((iou(one, t) for one in found), default=0.0) for t in boxes]
            words = ", ".join(f"{one:.2f}" for one in ious)
            print(f"  {Path(path).stem:24} {len(found)} found, IoU {words}")
        for name in _BLANKS:
            found = _animals(opened.find(_whole(shared / "speciesnet" / f"{name}.jpg")))
            print(f"  {name:24} {len(found)} found")


def _animals(found: Sequence[FoundObject]) -> list[Box]:
    return [one.box for one in found if one.observation_type == "animal"]


def _whole(path: Path) -> Image:
    return media.decode(path.read_bytes()).image_HWC


def _truth(shared: Path) -> dict[str, list[Box]]:
    """Boxes set by hand, by the picture's path."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    with (shared / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = [row[key] for key in ("x", "y", "width", "height")]
            boxes[row["path"]].append(box_of(values, relative=True))
    return dict(boxes)


def _sure(found: Found) -> list[Box]:
    """The whole frame of a first picture is in it: it counts as a box."""
    return [
        one.box
        for one in found.objects
        if one.confidence is None or one.confidence >= MIN_CONFIDENCE
    ]


if __name__ == "__main__":
    typer.run(main)
