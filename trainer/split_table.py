"""A split written as a metadata.csv in the wildlife-datasets form."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from edge.errors import InputError
from edge.pictures import Collection
from trainer.checkpoint import write_rows
from trainer.splits import Split

_OF_A_FOLDER = ("image_id", "identity", "path")


def write_table(out: Path, data: Path, collection: Collection, splits: Sequence[Split]) -> None:
    """All columns of DATA's table, with `split` and with paths that hold from where OUT lies.

    Raises InputError where OUT is not a new .csv file in a folder that is there.
    """
    if out.suffix != ".csv":
        raise InputError(f"{out} must end in .csv")
    if out.exists():
        raise InputError(f"{out} is there already; give another name, or remove it first")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} to write {out.name} into; make it first")
    rows = _rows_of(data, collection)
    for row, picture, split in zip(rows, collection.pictures, splits, strict=True):
        row["path"] = _seen_from(picture.path, out.parent)
        row["split"] = split
    columns = list(rows[0])
    write_rows(out, columns, [[row[column] for column in columns] for row in rows])


def _rows_of(data: Path, collection: Collection) -> list[dict[str, str]]:
    table = data if data.is_file() else data / "metadata.csv"
    if not table.is_file():
        return [
            dict(zip(_OF_A_FOLDER, (str(number), one.identity or "", one.name), strict=True))
            for number, one in enumerate(collection.pictures)
        ]
    with table.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _seen_from(path: Path, folder: Path) -> str:
    """Relative where that is possible, with forward slashes."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()
