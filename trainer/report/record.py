"""What a run directory says of its run, read back: settings, epochs, clusters.

Read-only; weights are read by `trainer.checkpoint`.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.clusters import FILE_NAME as CLUSTERS
from edge.errors import InputError
from trainer import checkpoint
from trainer.data import Crops
from trainer.settings import LABEL_FREE

_ADVICE = "give the run's folder as fancl-train left it, or train again"
_CLUSTER_COLUMNS = ("sha256", "pseudo_label", "similarity_to_centre")


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """metrics.csv: its columns by name, its cells as they are written."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # one an epoch

    def values(self, column: str) -> NDArray[np.float64] | None:
        """The column's numbers, nan where a cell is empty; None where it holds no number at all.

        Raises InputError for a cell that is neither empty nor a number.
        """
        if column not in self.columns:
            return None
        index = self.columns.index(column)
        try:
            values_E = np.array([float(row[index] or "nan") for row in self.rows])
        except ValueError as error:
            message = f"column {column} of {checkpoint.METRICS}: {error}; {_ADVICE}"
            raise InputError(message) from error
        return values_E if np.isfinite(values_E).any() else None

    @property
    def skipped(self) -> NDArray[np.bool_]:
        """bool [E]: epochs without clusters to learn from: those without a loss."""
        loss_E = self.values("loss")
        return np.ones(len(self.rows), np.bool_) if loss_E is None else np.isnan(loss_E)


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """clusters.csv: a pseudo-label a training crop, in the crops' order."""

    label_N: NDArray[np.int64]  # -1: outlier
    similarity_N: NDArray[np.float64]  # to the cluster's centre, nan for outliers

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64 [M]: crops in each cluster."""
        return np.bincount(self.label_N[self.label_N >= 0])


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    folder: Path
    config: dict[str, Any]  # config.json
    epochs: Epochs
    clusters: Clusters | None  # None before the first epoch ends, and where names were given

    @property
    def method(self) -> str:
        return str(self.config["settings"]["method"])

    @property
    def learns_from_names(self) -> bool:
        """Whether identities were given, so that nothing was clustered."""
        return self.method not in LABEL_FREE

    @property
    def num_planned_epochs(self) -> int:
        return int(self.config["settings"]["schedule"]["epochs"])


def read_record(run: Path, crops: Crops) -> RunRecord:
    """The record of `run`, which was trained on `crops`.

    Raises InputError when a file cannot be read or tells of other crops.
    """
    path = run / checkpoint.CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        num_crops = config["num_crops"]
        _ = config["settings"]["method"], config["settings"]["schedule"]["epochs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} does not describe a training run ({error!r}); {_ADVICE}"
        raise InputError(message) from error
    if num_crops != len(crops):
        raise InputError(
            f"{run} was trained on {num_crops} crops, these are {len(crops)}; "
            "give the report the pictures of the training"
        )
    return RunRecord(
        folder=run,
        config=config,
        epochs=_read_epochs(run / checkpoint.METRICS),
        clusters=_read_clusters(run / CLUSTERS, crops),
    )


def _read_epochs(path: Path) -> Epochs:
    table = _read_table(path)
    if not table:
        return Epochs(columns=(), rows=())
    columns, *rows = table
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise InputError(
                f"{path} line {number} has {len(row)} cells, not {len(columns)}; {_ADVICE}"
            )
    return Epochs(columns=tuple(columns), rows=tuple(tuple(row) for row in rows))


def _read_clusters(path: Path, crops: Crops) -> Clusters | None:
    table = _read_table(path)
    if not table:
        return None
    columns, *rows = table
    missing = [column for column in _CLUSTER_COLUMNS if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; {_ADVICE}")
    sha256, label, similarity = (columns.index(column) for column in _CLUSTER_COLUMNS)
    if [row[sha256] for row in rows] != [fact.sha256 for fact in crops.facts]:
        raise InputError(
            f"{path} lists other crops than these, or in another order; "
            "give the report the pictures of the training"
        )
    try:
        return Clusters(
            label_N=np.array([int(row[label]) for row in rows], np.int64),
            similarity_N=np.array([float(row[similarity] or "nan") for row in rows]),
        )
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} cannot be read ({error}); {_ADVICE}") from error


def _read_table(path: Path) -> list[list[str]]:
    """All lines, the heading first; none where the file is not there yet."""
    if not path.is_file():
        return []
    try:
        # A file name that is not UTF-8 keeps its bytes, as it was written.
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}; {_ADVICE}") from error
