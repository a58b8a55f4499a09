"""What a fault of the database means, and what to do about it, in words."""

from __future__ import annotations

from pathlib import Path

import apsw

from edge.errors import StateError, StateKind
from edge.record import disk

ADVICE: dict[StateKind, str] = {
    "full": "the disk is full; free some space and start again (nothing recorded is lost)",
    "read-only": "this user may not write to it, or the disk is mounted read-only; run the command "
    "as the user the state folder belongs to, or give another folder with --state DIR",
    "io": "the disk failed; check it, then start again (nothing recorded is lost)",
    "damaged": "the file is damaged; `edge-admin restore` sets it aside and brings back the newest "
    "backup together with what can still be read",
    "in-use": "another program holds it; stop that one first",
    "other": "check the disk, then start again (nothing recorded is lost)",
}
_NOT_OPENED = (
    "check that its folder is there and that this user may write to it, or give another "
    "folder with --state DIR"
)


def as_state_error(path: Path, error: apsw.Error) -> StateError:
    kind = _kind(path, error)
    is_opening = kind == "other" and isinstance(error, apsw.CantOpenError)
    advice = _NOT_OPENED if is_opening else ADVICE[kind]
    return StateError(kind, f"the database {path} does not work ({error}): {advice}")


def _kind(path: Path, error: apsw.Error) -> StateKind:
    if isinstance(error, (apsw.IOError, apsw.CantOpenError)):
        # SQLite says no more than this of files it cannot make or grow beside the database.
        space = disk.space(path.parent)
        if space is not None and space.is_read_only:
            return "read-only"
        if space is not None and space.is_full:
            return "full"
        return "io" if isinstance(error, apsw.IOError) else "other"
    kinds: tuple[tuple[type[apsw.Error], StateKind], ...] = (
        (apsw.NotADBError, "damaged"),
        (apsw.CorruptError, "damaged"),
        (apsw.FullError, "full"),
        (apsw.ReadOnlyError, "read-only"),
        (apsw.PermissionsError, "read-only"),
        (apsw.BusyError, "in-use"),
        (apsw.LockedError, "in-use"),
    )
    return next((kind for one, kind in kinds if isinstance(error, one)), "other")
