"""Copies of the database: numbered in STATE/backups, as a clock may be wrong, or anywhere.

The last few are kept. Does not cover crops, but for copying them along, nor the way back
(edge/record/restore.py).
"""

from __future__ import annotations

import os
import re
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

from edge.errors import StateError
from edge.record import disk, store_copy
from edge.record.state import StateFolder, copy_file, make_folder, rename_file
from edge.record.store import open_reader

NUM_KEPT = 3
_EVERY_SECONDS = 86400
_RETRY_SECONDS = 3600
_NAME = re.compile(r"edge-(\d{6})\.db")


def make_backup(database: Path, target: Path) -> None:
    """A whole, checked copy under its name, or none; also while another program writes."""
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    store = open_reader(database)
    try:
        store_copy.copy_into(store, temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        store.close()
    problems = problems_of(temporary)
    if problems:
        temporary.unlink()
        raise StateError("damaged", f"{database} gave no whole copy: {'; '.join(problems)}")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    rename_file(temporary, target)


def make_numbered_backup(state: StateFolder) -> Path:
    """One more copy in STATE/backups; the oldest beyond NUM_KEPT go. Raises StateError."""
    make_folder(state.backups)
    size = state.database.stat().st_size if state.database.is_file() else 0
    left = disk.space(state.backups)
    if left is not None and left.free_bytes < 2 * size:
        raise StateError(
            "full",
            f"no backup was made: {state.backups} has {left.free_bytes // 2**20} MB left and "
            f"{2 * size // 2**20} are needed; free some space",
        )
    for orphan in state.backups.glob("*.tmp"):
        orphan.unlink()
    there = backups(state)
    number = 1 + (int(_NAME.fullmatch(there[-1].name)[1]) if there else 0)  # type: ignore[index]
    target = state.backups / f"edge-{number:06}.db"
    make_backup(state.database, target)
    for old in [*there, target][:-NUM_KEPT]:
        old.unlink()
    return target


def backups(state: StateFolder) -> list[Path]:
    """The numbered copies, oldest first."""
    if not state.backups.is_dir():
        return []
    return sorted(one for one in state.backups.iterdir() if _NAME.fullmatch(one.name))


def newest_good(state: StateFolder) -> Path | None:
    return next((one for one in reversed(backups(state)) if not problems_of(one)), None)


def copy_crops(state: StateFolder, folder: Path) -> int:
    """Puts the crops that are not there yet into `folder`; their number."""
    make_folder(folder)
    there = {one.name for one in folder.iterdir()}
    missing = [one for one in state.crops.glob("*.jpg") if one.name not in there]
    for crop in missing:
        copy_file(crop, folder / crop.name)
    return len(missing)


class DailyBackup:
    """Makes a backup a day in a thread of its own, so that pictures do not wait for it."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._thread: threading.Thread | None = None
        self._told: list[str] = []
        self._next_try = 0.0  # monotonic

    def tend(self) -> list[str]:
        """Starts one where it is due; what went wrong since the last call, as sentences."""
        told, self._told = self._told, []
        if self._thread is None or not self._thread.is_alive():
            if time.monotonic() >= self._next_try and self._is_due():
                self._next_try = time.monotonic() + _RETRY_SECONDS
                self._thread = threading.Thread(target=self._make, daemon=True)
                self._thread.start()
        return told

    def finish(self, seconds: float) -> None:
        """Lets the one at work come to its end; the next start sweeps away what takes longer."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _is_due(self) -> bool:
        """A clock that went back makes one more, never none."""
        there = backups(self._state)
        return not there or abs(time.time() - there[-1].stat().st_mtime) > _EVERY_SECONDS

    def _make(self) -> None:
        try:
            make_numbered_backup(self._state)
        except (StateError, OSError) as error:
            self._told.append(f"the daily backup failed: {error}")


def problems_of(copy: Path) -> list[str]:
    try:
        store = open_reader(copy, older_too=True)
    except StateError as error:
        return [str(error)]
    try:
        return store_copy.check_thoroughly(store)
    finally:
        store.close()


def made_at(copy: Path) -> str:
    return f"{datetime.fromtimestamp(copy.stat().st_mtime, timezone.utc):%Y-%m-%d %H:%M} UTC"
