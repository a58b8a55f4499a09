"""A training run's clusters.csv: which crops training took for the same animal.

Read by enrolment and export alike, so that a path and a box mean the same to both. The trainer
writes it; what becomes of a cluster is not decided here.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from edge.detect import Box, box_of
from edge.errors import InputError

FILE_NAME = "clusters.csv"
OUTLIER = -1  # pseudo_label of a crop in no cluster
CONFIG_NAME = "config.json"
_SIDES = ("x", "y", "width", "height")
_COLUMNS = ("path", "sha256", "pseudo_label", "burst", *_SIDES)
_ADVICE = "give the run's folder as fancl-train left it, or train again"


@dataclass(frozen=True, kw_only=True)
class ClusterRow:
    """One crop that was trained on."""

    path: Path  # absolute; not checked to be there
    name: str  # as the training data name the picture
    sha256: str  # of the picture's bytes
    pseudo_label: int
    burst: int
    box: Box | None  # relative; None: the whole picture


def read_clusters(table: Path) -> tuple[ClusterRow, ...]:
    """The crops of the run that `table` lies in, outliers included, in the table's order.

    Raises InputError when the table or the run's config.json beside it cannot serve.
    """
    root = _data_folder(table.parent / CONFIG_NAME)
    try:
        # Names that are not UTF-8 come through unchanged.
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restval="missing")  # no number, so a short row is told
            columns = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read {table}: {error}; {_ADVICE}") from error
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise InputError(f"{table} has no column {', '.join(missing)}; {_ADVICE}")
    if not rows:
        raise InputError(f"{table} holds no crops; {_ADVICE}")
    return tuple(_row(root, row, f"{table} line {line}") for line, row in enumerate(rows, start=2))


def _row(root: Path, row: dict[str, str], where: str) -> ClusterRow:
    try:
        sides = [row[side] for side in _SIDES]
        return ClusterRow(
            path=root / row["path"],
            name=row["path"],
            sha256=row["sha256"],
            pseudo_label=int(row["pseudo_label"]),
            burst=int(row["burst"]),
            box=box_of(sides, relative=True) if any(sides) else None,
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} cannot be read ({error!r}); {_ADVICE}") from error


def _data_folder(config: Path) -> Path:
    """The folder that the paths in clusters.csv are relative to."""
    try:
        data = Path(json.loads(config.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{config} does not tell where the training pictures are ({error!r}); {_ADVICE}"
        ) from error
    return (data.parent if data.is_file() else data).absolute()
