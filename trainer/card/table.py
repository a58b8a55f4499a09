"""crops.csv: what was found in each picture of a card, a row a box.

A picture without a box has one row, so that every picture that was looked at is in the table. It
is a boxes file (edge.detection.box_formats): `--boxes` takes it, here and on the device.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edge.detect import Box, box_of
from edge.errors import InputError
from edge.text import counted
from trainer import checkpoint

_TYPES = ("animal", "human", "vehicle", "blank", "unclassified")


@dataclass(frozen=True, kw_only=True)
class CropRow:
    """Cells as they are written; empty where there is nothing to say."""

    path: str  # as the data name the picture
    sha256: str  # of its bytes
    captured_at: str  # by the data's table or the camera, 2026-05-01 06:30:00.000
    observation_type: str  # animal, human, vehicle, blank; unclassified: could not be looked at
    confidence: str  # the detector's, in [0, 1]
    bbox: str  # [x, y, width, height] in pixels of the upright picture
    quality: str  # of the crop, in [0, 1]: the product of the next four
    pixels: str
    sharpness: str
    exposure: str
    whole: str
    left_out: str  # why this is not trained on; empty: it is

    @property
    def is_crop(self) -> bool:
        return self.observation_type == "animal" and not self.left_out

    @property
    def box(self) -> Box | None:
        """In pixels; raises InputError where the cell is no box."""
        if not self.bbox:
            return None
        try:
            return box_of(self.bbox.strip("[]").split(","), relative=False)
        except (ValueError, OverflowError) as error:
            raise InputError(f"crops.csv: bbox {self.bbox!r} of {self.path}: {error}") from error


COLUMNS = tuple(field.name for field in fields(CropRow))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pictures by the most telling thing in them, and boxes of animals."""

    num_pictures: int
    num_animal: int
    num_human: int
    num_vehicle: int
    num_blank: int
    num_unclassified: int  # could not be looked at
    num_crops: int
    num_left_out: int  # boxes of animals that are not trained on


def write_table(path: Path, rows: Sequence[CropRow]) -> None:
    checkpoint.write_rows(path, COLUMNS, [list(asdict(row).values()) for row in rows])


def read_table(path: Path) -> list[CropRow]:
    """Raises InputError where it is not such a table."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restval="")
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            rows = [] if missing else [{name: row[name] for name in COLUMNS} for row in reader]
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(sorted(missing))}: delete it, and the pictures are "
            "searched again"
        )
    return [CropRow(**row) for row in rows]


def count(rows: Sequence[CropRow]) -> Counts:
    types_of: dict[str, set[str]] = {}
    for row in rows:
        types_of.setdefault(row.path, set()).add(row.observation_type)
    pictures = Counter(next(one for one in _TYPES if one in types) for types in types_of.values())
    animals = [row for row in rows if row.observation_type == "animal"]
    num_crops = sum(row.is_crop for row in animals)
    return Counts(
        num_pictures=len(types_of),
        num_animal=pictures["animal"],
        num_human=pictures["human"],
        num_vehicle=pictures["vehicle"],
        num_blank=pictures["blank"],
        num_unclassified=pictures["unclassified"],
        num_crops=num_crops,
        num_left_out=len(animals) - num_crops,
    )


def told(counts: Counts) -> str:
    """`1,200 pictures: 240 with animals (251 crops), 30 with people, ...`"""
    left_out = f", {counts.num_left_out} left out" if counts.num_left_out else ""
    parts = [
        f"{counts.num_animal} with animals ({counted(counts.num_crops, 'crop')}{left_out})",
        f"{counts.num_human} with people" if counts.num_human else "",
        f"{counts.num_vehicle} with vehicles" if counts.num_vehicle else "",
        f"{counts.num_blank} blank",
        f"{counts.num_unclassified} could not be looked at" if counts.num_unclassified else "",
    ]
    return f"{counted(counts.num_pictures, 'picture')}: {', '.join(one for one in parts if one)}"
