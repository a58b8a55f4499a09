"""Sightings as a CSV table: one row a detection and path, or one row an animal and event."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, Literal, TextIO

from edge.record import store_report
from edge.record.store import Store
from edge.text import safe_cell

Level = Literal["media", "event"]
# Similarities are compared with fancl-eval's to 2e-3; six decimals keep all that float32 holds.
_SIX_DECIMALS = ("best_similarity", "runner_up_similarity", "similarity", "statistic_value")


def write_table(store: Store, level: Level, out: TextIO) -> None:
    if level == "media":
        _write(store_report.MEDIA_COLUMNS, store_report.media_rows(store), out)
    else:
        _write(store_report.EVENT_COLUMNS, store_report.event_rows(store), out)


def _write(columns: tuple[str, ...], rows: Iterable[store_report.Record], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(column, row[column]) for column in columns])


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}" if column in _SIX_DECIMALS else f"{value:.9g}"
    return safe_cell(str(value)) if isinstance(value, str) else str(value)
