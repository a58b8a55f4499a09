"""Right names with boxes found by motion beside those with true boxes; `detect.py` runs it.

An encoder learns without labels from one drawn world's training crops, as the demo's does. The
raw frames of each world's inbox then go through the commands twice: with the drawn boxes and with
`--detector motion`, which begins with cameras it has never seen. A true animal's event counts as
right where the sighting that holds its boxes is a match with its name; sightings that hold no true
animal's are counted apart.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxes import iou
from runs import command

from edge.detect import Box, box_of
from edge.detection.boxes_file import BoxesFile

COLUMNS = (
    "seed", "boxes", "known", "right", "wrong", "called_new", "missed", "strangers",
    "strangers_named", "others", "others_named",
)  # fmt: skip
_SOURCES = ("drawn", "motion")
_BAR = 5.0  # percentage points of right names that motion may cost

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Event:
    """One animal before one camera."""

    identity: str
    is_known: bool
    frames: tuple[str, ...]  # camera/name


def train_encoder(world: Path, run: Path, seed: int) -> Path:
    """The model of a run on the world's training part, as the demo trains it."""
    model = run / "model.onnx"
    shutil.rmtree(run, ignore_errors=True)  # of a run that was interrupted
    command(
        "fancl-train", world / "train", "--boxes", world / "train-boxes.json", "--out", run,
        "--backbone", "small-cnn", "--seed", seed,
    )  # fmt: skip
    command("fancl-export", run, "--onnx", model, "--name", "drawn")
    return model


def name_rows(world: Path, seed: int, model: Path, work: Path) -> list[Row]:
    """A row a source of boxes; `work` is a folder that is made and removed."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    enrolled = work / "enrolled"
    command("edge-gallery", "enroll", world / "gallery", "--model", model, "--state", enrolled)
    rows = []
    for source in _SOURCES:
        state = work / source
        shutil.copytree(enrolled, state)
        found = (
            ("--detector", "motion")
            if source == "motion"
            else ("--boxes", world / "inbox-boxes.json")
        )
        command("edge-watch", world / "inbox", "--once", *found, "--model", model, "--state", state)
        for level in ("media", "event"):
            table = work / f"{source}-{level}.csv"
            command("edge-report", "csv", "--level", level, "--out", table, "--state", state)
        rows.append(_score(world, work, source, seed))
    shutil.rmtree(work)
    return rows


def show_names(rows: Sequence[Row]) -> None:
    print(f"names on the raw frames of {len(rows) // 2} worlds (motion within {_BAR:.0f} points)")
    rights = []
    for source in _SOURCES:
        mine = [row for row in rows if row["boxes"] == source]
        total = Counter[str]()
        for row in mine:
            total.update({key: int(row[key]) for key in COLUMNS[2:]})
        num = total["known"]
        rights.append(100 * total["right"] / num)
        worst = ", ".join(f"{100 * int(row['right']) / int(row['known']):.0f}" for row in mine)
        print(
            f"  {source:7} right {rights[-1]:.1f} % of {num} visits of known animals (worlds: "
            f"{worst}), wrong {total['wrong']}, called new {total['called_new']}, "
            f"missed {total['missed']}; strangers named {total['strangers_named']} of "
            f"{total['strangers']}; other sightings {total['others']}, named "
            f"{total['others_named']}"
        )
    print(f"  motion costs {rights[0] - rights[1]:.1f} points of right names")


def _score(world: Path, work: Path, source: str, seed: int) -> Row:
    sightings = {row["observation_id"]: row for row in _read(work / f"{source}-event.csv")}
    boxes = BoxesFile(world / "inbox-boxes.json")
    detections: dict[str, list[Row]] = defaultdict(list)
    for row in _read(work / f"{source}-media.csv"):
        path = Path(row["file_path"])
        detections[f"{path.parent.name}/{path.name}"].append(row)
    counts = Counter[str]()
    claimed = set()
    for event in _true_events(world):
        group = "known" if event.is_known else "strangers"
        counts[group] += 1
        sighting_id = _sighting_of(event, boxes, detections)
        claimed.add(sighting_id)
        counts[_verdict(event, sightings.get(sighting_id))] += 1
    others = [row for key, row in sightings.items() if key not in claimed]
    counts["others"] = len(others)
    counts["others_named"] = sum(map(_is_named, others))
    return {"seed": str(seed), "boxes": source} | {key: str(counts[key]) for key in COLUMNS[2:]}


def _true_events(world: Path) -> list[_Event]:
    events: dict[str, list[Row]] = defaultdict(list)
    for row in _read(world / "truth.csv"):
        if row["part"] == "inbox" and row["identity"]:
            events[row["encounter"]].append(row)
    return [
        _Event(
            identity=rows[0]["identity"],
            is_known=rows[0]["known"] == "1",
            frames=tuple(row["path"] for row in rows),
        )
        for rows in events.values()
    ]


def _sighting_of(event: _Event, boxes: BoxesFile, detections: dict[str, list[Row]]) -> str:
    """Of most of its frames, by the box nearest to the drawn one; "" where there is none."""
    votes = Counter[str]()
    for frame in event.frames:
        (truth,) = boxes.find(frame) or []
        found = [(iou(_box(row), truth.box), row) for row in detections[frame] if row["x"]]
        overlap, row = max(found, key=lambda pair: pair[0], default=(0.0, {}))
        if overlap > 0 and row["observation_id"]:
            votes[row["observation_id"]] += 1
    return votes.most_common(1)[0][0] if votes else ""


def _verdict(event: _Event, sighting: Row | None) -> str:
    """The column that the event counts in."""
    if not event.is_known:
        return "strangers_named" if sighting and _is_named(sighting) else "-"
    if sighting is None:
        return "missed"
    if _is_named(sighting):
        return "right" if sighting["nearest_name"] == event.identity else "wrong"
    again = sighting["provisional"] == "1" and sighting["decision"] == "match"
    return "called_new" if again or sighting["decision"] == "new" else "-"


def _is_named(sighting: Row) -> bool:
    """With a name that a person gave: a new animal known again is still a new one."""
    return sighting["decision"] == "match" and sighting["provisional"] != "1"


def _box(row: Row) -> Box:
    return box_of([row[key] for key in ("x", "y", "width", "height")], relative=True)


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
