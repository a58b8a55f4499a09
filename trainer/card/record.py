"""What a run directory knows of its search: how far it is, and what it was asked for.

RUN/crops.part.json  an unfinished search: the rows so far and what motion has learned
RUN/crops.csv        a finished one (trainer.card.table)
RUN/crops.json       with which detector and on which pictures it was made
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.pictures import Picture
from trainer import checkpoint
from trainer.card.table import CropRow, write_table

CROPS, SHEET = checkpoint.CROPS, "crops.html"
_SUMMARY, _PART = "crops.json", "crops.part.json"


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A search as far as it has come."""

    num_batches: int  # done
    rows: list[CropRow]
    memory: dict[str, str]  # what the finder has learned


def is_begun(run: Path) -> bool:
    """Whether the folder holds a search, finished or not."""
    return any((run / name).is_file() for name in (_SUMMARY, _PART))


def refuse_run_without(run: Path) -> None:
    """Raises InputError where the folder holds a run that did not begin with a search."""
    if (run / checkpoint.CONFIG).is_file() and not is_begun(run):
        raise InputError(
            f"{run} holds a run that was begun without --detector; give --out a new folder"
        )


def asked_for(pictures: Sequence[Picture], finder: dict[str, Any]) -> dict[str, Any]:
    """Equal ones give the same crops: the detector, and names and sizes of the pictures."""
    digest = hashlib.sha256()
    for picture in pictures:
        size = picture.path.stat().st_size
        digest.update(f"{picture.name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return {
        "detector": finder,
        "pictures": {"number": len(pictures), "digest": digest.hexdigest()},
    }


def is_finished(run: Path, asked: dict[str, Any]) -> bool:
    """Raises InputError where the folder holds another search."""
    path = run / _SUMMARY
    if not path.is_file() or not (run / CROPS).is_file():
        return False
    _require_same(run, _read(path), asked)
    return True


def memory_of(run: Path) -> dict[str, str]:
    """What the finder of an unfinished search had learned."""
    path = run / _PART
    memory: dict[str, str] = _read(path)["memory"] if path.is_file() else {}
    return memory


def load_unfinished(run: Path, asked: dict[str, Any]) -> Unfinished:
    """Where a stopped search goes on; raises InputError where it was another one."""
    path = run / _PART
    if not path.is_file():
        return Unfinished(num_batches=0, rows=[], memory={})
    content = _read(path)
    _require_same(run, content["asked"], asked)
    rows = [CropRow(**row) for row in content["rows"]]
    return Unfinished(num_batches=content["num_batches"], rows=rows, memory=content["memory"])


def save_unfinished(run: Path, asked: dict[str, Any], search: Unfinished) -> None:
    content = {
        "asked": asked,
        "num_batches": search.num_batches,
        "rows": [asdict(row) for row in search.rows],
        "memory": search.memory,
    }
    checkpoint.write_atomically(run / _PART, json.dumps(content).encode())


def finish(run: Path, asked: dict[str, Any], rows: Sequence[CropRow]) -> None:
    write_table(run / CROPS, rows)
    checkpoint.write_json(run / _SUMMARY, asked)
    (run / _PART).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {path} ({error}): delete it, and the pictures are searched again"
        ) from error
    return content


def _require_same(run: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    if before.get("detector") != now["detector"]:
        then, wanted = before["detector"]["name"], now["detector"]["name"]
        other = f"by {then}, not {wanted}" if then != wanted else f"by {then} before it changed"
        raise InputError(f"{run} holds crops found {other}: give --out a new folder")
    if before != now:
        raise InputError(
            f"{run} holds the crops of {before['pictures']['number']} pictures, and they are "
            f"others than the {now['pictures']['number']} now: give --out a new folder, or bring "
            "the pictures back as they were"
        )
