"""The rounds of a benchmark that another run of it finished, to go on after them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Times = dict[str, list[float]]  # by program, one a round


@dataclass(frozen=True, kw_only=True)
class Finished:
    times: dict[str, Times]  # by case
    extras: Times


def digest_of(package: Path) -> str:
    """Of its source files: another program's rounds are not gone on with."""
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


def finished_rounds(table: Path, form: dict[str, Any], labels: Collection[str]) -> Finished | None:
    """Those of the table, if it is of this form and these cases; None: there are none."""
    if not table.is_file():
        return None
    before = json.loads(table.read_text(encoding="utf-8"))
    times = before["milliseconds_a_photo"]
    if before.get("form") != form or set(times) != set(labels):
        return None
    return Finished(
        times={label: _lists(of_case) for label, of_case in times.items()},
        extras=_lists(before["extras"]),
    )


def _lists(values: dict[str, Any]) -> Times:
    """Without the single numbers that stand among them."""
    return {name: each for name, each in values.items() if isinstance(each, list)}
