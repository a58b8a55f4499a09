"""A collection of pictures: a folder, or a metadata.csv in the wildlife-datasets form.

Read by training, evaluation and enrolment alike, so that a folder means the same to all three.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from edge.decoding.container import CLIP_SUFFIXES
from edge.detect import Box, box_of
from edge.errors import InputError
from edge.media import is_picture_name

Flank = Literal["left", "right", "unknown"]
_FLANKS: dict[str, Flank] = {"left": "left", "right": "right"}
_DATE_FORMATS = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y:%m:%d %H:%M:%S")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One row of a collection: a picture, or one box in it."""

    path: Path
    name: str  # as the table writes it, or relative to the folder, with forward slashes
    identity: str | None  # the `identity` column, else the first-level folder
    box: Box | None  # None: the whole picture
    captured_at: datetime | None  # the `date` column; EXIF is read on decoding
    encounter: str | None
    flank: Flank
    split: str | None


@dataclass(frozen=True, kw_only=True)
class Collection:
    root: Path
    pictures: tuple[Picture, ...]
    num_other_files: int  # files with no picture's name
    num_clips: int  # of these, by their name
    labelled: bool  # some row names an identity, or every picture lies in a first-level folder


def read_collection(data: Path, split: str | None = None) -> Collection:
    """The pictures of a folder (sub-folders included), of a metadata.csv or of a folder with one.

    Where there is a `split` column, only rows of `split` are kept (all, if None). Raises
    InputError when there is nothing to read.
    """
    if not data.exists():
        raise InputError(f"{data} does not exist; give a folder of photos or a metadata.csv")
    table = data if data.is_file() else data / "metadata.csv"
    if table.is_file():
        collection = _read_table(table, split)
    else:
        collection = _read_folder(data)
    if not collection.pictures:
        raise InputError(_nothing_found(data, split, collection))
    return collection


def _nothing_found(data: Path, split: str | None, collection: Collection) -> str:
    of_table = data.is_file() or (data / "metadata.csv").is_file()
    wanted = f" with split '{split}'" if split and of_table else ""
    others = f" ({collection.num_other_files} other files)" if collection.num_other_files else ""
    return (
        f"no pictures{wanted} in {data}{others}; give a folder with .jpg, .jpeg or .png files "
        "(sub-folders count too), or a metadata.csv with the columns identity and path"
    )


def _read_folder(root: Path) -> Collection:
    pictures: list[Picture] = []
    others: list[Path] = []
    for path in sorted(_walk(root)):
        if not is_picture_name(path.name):
            others.append(path)
            continue
        relative = path.relative_to(root)
        pictures.append(
            Picture(
                path=path,
                name=relative.as_posix(),
                identity=relative.parts[0] if len(relative.parts) > 1 else None,
                box=None,
                captured_at=None,
                encounter=None,
                flank="unknown",
                split=None,
            )
        )
    return Collection(
        root=root,
        pictures=tuple(pictures),
        num_other_files=len(others),
        num_clips=sum(one.suffix.lower() in CLIP_SUFFIXES for one in others),
        labelled=all(one.identity is not None for one in pictures),
    )


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)
        elif entry.is_file():
            yield entry


def _read_table(table: Path, split: str | None) -> Collection:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {table}: {error}; it must be a UTF-8 CSV file") from error
    if "path" not in columns:
        raise InputError(
            f"{table} has no column 'path' (it has: {', '.join(columns) or 'none'}); "
            "columns are separated by commas, and the wildlife-datasets form is image_id, "
            "identity, path and optional others"
        )
    kept = [row for row in rows if split is None or "split" not in columns or row["split"] == split]
    pictures = tuple(_picture(table, line, row) for line, row in _numbered(kept, rows))
    missing = next((one.path for one in pictures if not one.path.is_file()), None)
    if missing is not None:
        raise InputError(f"{table} names {missing}, which is not there; paths are relative to it")
    return Collection(
        root=table.parent,
        pictures=pictures,
        num_other_files=0,
        num_clips=0,
        labelled=any(one.identity is not None for one in pictures),
    )


def _numbered(
    kept: list[dict[str, str]], rows: list[dict[str, str]]
) -> Iterable[tuple[int, dict[str, str]]]:
    line_of = {id(row): line for line, row in enumerate(rows, start=2)}
    return ((line_of[id(row)], row) for row in kept)


def _picture(table: Path, line: int, row: dict[str, str]) -> Picture:
    if not row["path"]:
        raise InputError(f"{table} line {line}: the row names no picture in its column 'path'")
    side = (row.get("position") or row.get("orientation") or "").strip().lower()
    return Picture(
        path=table.parent / row["path"],
        name=row["path"],
        identity=row.get("identity") or None,
        box=_pixel_box(row.get("bbox") or "", table, line),
        captured_at=_date(row.get("date") or "", table, line),
        encounter=row.get("encounter") or None,
        flank=_FLANKS.get(side, "unknown"),
        split=row.get("split") or None,
    )


def _pixel_box(text: str, table: Path, line: int) -> Box | None:
    """wildlife-datasets writes `[x, y, width, height]` in pixels."""
    if not text.strip() or text.strip().lower() == "nan":
        return None
    try:
        return box_of(ast.literal_eval(text), relative=False)
    except (ValueError, SyntaxError, TypeError, OverflowError) as error:
        raise InputError(
            f"{table} line {line}: bbox {text!r} is not [x, y, width, height] in pixels, or has "
            "no area; leave it empty for the whole picture"
        ) from error


def _date(text: str, table: Path, line: int) -> datetime | None:
    """The moment, or None where the table names no time of day: a day is no burst."""
    text = text.strip()
    for form in _DATE_FORMATS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    if ":" not in text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        raise InputError(
            f"{table} line {line}: date {text!r} is not like 2026-05-01 06:30:00; write it so, "
            "or leave it empty"
        ) from error
