"""The way back when the database is damaged, or by hand to an earlier state.

A damaged database is set aside, never deleted. Needs the lock. Copies are made in backup.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError, StateError
from edge.record import store_copy, store_merge, store_people
from edge.record.backup import backups, newest_good, problems_of
from edge.record.state import StateFolder, copy_file, rename_file, sync_folder
from edge.record.store import Store, open_store

CHECK_SECONDS = 2.0  # at the start; what takes longer is checked with the next backup


@dataclass(frozen=True, kw_only=True)
class Restored:
    source: Path | None  # the copy it came from; None: only from the damaged database
    aside: Path | None  # where the database before it is now
    broken_tables: list[str] | None  # not read whole; None: nothing of the damaged one was used
    keeps_people: bool  # what people said since is there

    @property
    def sentence(self) -> str:
        origin = f"the backup {self.source}" if self.source else "no backup"
        told = f"restored from {origin}"
        if self.broken_tables is None:
            told += "; what was recorded after it is lost"
            told += ", but for what people said" if self.keeps_people else ""
        elif self.broken_tables:
            told += (
                " and from what can be read of the damaged database; lost is what lay on its "
                f"damaged pages of {', '.join(self.broken_tables)} and is in no backup"
            )
        else:
            told += " and from the damaged database, of which every row could be read"
        told += ". Pictures that are still in the inbox and not recorded now are read again"
        return told + (f". The database before is kept as {self.aside}" if self.aside else "")


def open_checked(state: StateFolder) -> tuple[Store, str | None]:
    """The database for its writer, and what was restored if it was damaged, as a sentence.

    Needs the lock. Raises StateError where it is damaged and there is no backup.
    """
    _finish_swap(state)
    problem = gone(state)
    if problem is None:
        try:
            store = open_store(state.database)
            found = store_copy.check(store, CHECK_SECONDS)
        except StateError as error:
            if error.kind != "damaged":
                raise
            problem = str(error)
        else:
            if not found.problems:
                return store, _in_step(store)
            store.close()
            problem = "; ".join(found.problems)
    copy = newest_good(state)
    if copy is None:
        raise StateError(
            "damaged",
            f"the database {state.database} is damaged ({problem}) and there is no backup in "
            f"{state.backups}: run `edge-admin restore FILE` with a copy you have, or `edge-admin "
            "restore --without-backup`, which keeps what can still be read",
        )
    restored = _put_in_place(state, copy, is_merged=True)
    store = open_store(state.database)
    store_people.keep(store, is_whole=True)
    return store, f"the database was damaged ({problem}): {restored.sentence}"


def _in_step(store: Store) -> str | None:
    """What people said is the same in the database and in its second copy, whichever has more."""
    num_missing = store_merge.bring_back(store)
    store_people.keep(store, is_whole=True)
    if not num_missing:
        return None
    return (
        f"the database had lost {num_missing} reviews and changes of the gallery; they are brought "
        f"back from {store_people.path_of(store.path)}"
    )


def restore_file(state: StateFolder, copy: Path) -> Restored:
    """Puts a copy in the database's place, as it is. Needs the lock."""
    if not copy.is_file():
        raise InputError(f"there is no backup {copy}; give a file that `edge-admin backup` wrote")
    problems = problems_of(copy)
    if problems:
        raise InputError(f"the backup {copy} is damaged itself ({'; '.join(problems)})")
    return _put_in_place(state, copy, is_merged=False)


def restore_newest(state: StateFolder, without_backup: bool = False) -> Restored:
    """The newest whole backup, and what can still be read of the database. Needs the lock."""
    copy = newest_good(state)
    if copy is None and not without_backup:
        raise StateError(
            "damaged",
            f"there is no whole backup in {state.backups}: give one with `edge-admin restore "
            "FILE`, or keep what can still be read with `edge-admin restore --without-backup`",
        )
    return _put_in_place(state, copy, is_merged=True)


def gone(state: StateFolder) -> str | None:
    """Crops and backups without a database: it was lost, this is no new device."""
    if state.database.is_file() and state.database.stat().st_size:
        return None
    if backups(state) or any(state.crops.glob("*.jpg")):
        return "it is gone or empty, though crops or backups are there"
    return None


def _put_in_place(state: StateFolder, copy: Path | None, is_merged: bool) -> Restored:
    building = state.restored.with_name(state.restored.name + ".tmp")
    _remove_database(building)
    if copy is not None:
        copy_file(copy, building)
    store = open_store(building)
    broken: list[str] | None = None
    try:
        if is_merged:
            broken = store_merge.merge(store, state.database)
        if copy is None and broken is None and not _has_words(store):
            raise StateError(
                "damaged",
                f"nothing can be read of {state.database}: give a copy with `edge-admin restore "
                "FILE`, or move the database and its crops away to begin anew",
            )
        problems = store_copy.check_thoroughly(store)
        if problems:
            raise StateError("damaged", f"nothing whole came of it: {'; '.join(problems)}")
    finally:
        store.close()
    with building.open("rb") as file:
        os.fsync(file.fileno())
    aside = _set_aside(state, "damaged" if is_merged else "before")
    if aside is not None and not is_merged:
        _set_people_aside(state, aside)
    rename_file(building, state.restored)  # from here on it is finished whatever happens
    _finish_swap(state)
    has_people = is_merged and store_people.path_of(state.database).is_file()
    return Restored(source=copy, aside=aside, broken_tables=broken, keeps_people=has_people)


def _has_words(store: Store) -> bool:
    return bool(store.execute("SELECT 1 FROM review UNION ALL SELECT 1 FROM gallery_log LIMIT 1"))


def _set_aside(state: StateFolder, why: str) -> Path | None:
    """A second name for the database and its journal; None where there is none."""
    if not state.database.is_file():
        return None
    number = 1
    while (aside := state.root / f"{state.database.name}.{why}.{number}").exists():
        number += 1
    for suffix in ("-wal", ""):
        source = state.database.with_name(state.database.name + suffix)
        if source.is_file():
            os.link(source, aside.with_name(aside.name + suffix))
    sync_folder(state.root)
    return aside


def _set_people_aside(state: StateFolder, aside: Path) -> None:
    """Who goes back to an earlier state does not want what was said after it."""
    people = store_people.path_of(state.database)
    if people.is_file():
        rename_file(people, store_people.path_of(aside))


def _finish_swap(state: StateFolder) -> None:
    """Puts a finished restored database in place; the old journal must not meet it."""
    if state.restored.is_file():
        _remove_database(state.database)
        rename_file(state.restored, state.database)


def _remove_database(path: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    sync_folder(path.parent)
