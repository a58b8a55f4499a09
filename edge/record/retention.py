"""Old pictures in the archive make room: by age, and while the disk is too full.

Only files that edge-watch itself put into STATE/archive (`after = "move"`) ever go; never records
or crops, nor a picture that a person has reviewed or that is an exemplar's source.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from edge.config import Settings
from edge.errors import StateError
from edge.record import disk
from edge.record.state import StateFolder, kind_of
from edge.record.store import Store
from edge.record.store_archive import archived_before, oldest_archived, set_archive_deleted

_MAX_FILES = 200  # in one call, so that pictures never wait long for it
_FILES_A_LOOK = 20  # deleted before the free space is looked at again


def retire(
    store: Store, state: StateFolder, settings: Settings, *, clock_trusted: bool, now: datetime
) -> int:
    """Deletes archived pictures that the settings give up; the number of files, 200 at most.

    `now` is UTC and aware. By age only what was recorded under a clock that could be trusted, and
    only while it can be trusted now; by free space the first to arrive go first, whatever any
    clock says. Raises StateError where the disk refuses.
    """
    store.write_deferred()  # what was moved lately is in the archive as well
    num_gone = 0
    if settings.archive_days and clock_trusted:
        before = now - timedelta(days=settings.archive_days)
        num_gone += _delete(store, state, archived_before(store, before, _MAX_FILES))
    if settings.archive_min_free_mb:
        num_gone += _make_room(store, state, settings.archive_min_free_mb, _MAX_FILES - num_gone)
    return num_gone


def _make_room(store: Store, state: StateFolder, wanted_mb: int, limit: int) -> int:
    """A few between two looks, as each may be enough."""
    if not limit or _has_room(state, wanted_mb):
        return 0
    names = oldest_archived(store, limit)
    for start in range(0, len(names), _FILES_A_LOOK):
        if _has_room(state, wanted_mb):
            return start
        _delete(store, state, names[start : start + _FILES_A_LOOK])
    return len(names)


def _has_room(state: StateFolder, wanted_mb: int) -> bool:
    left_mb = disk.free_mb(state.root)
    return left_mb is None or left_mb >= wanted_mb


def _delete(store: Store, state: StateFolder, names: list[str]) -> int:
    """The file first: one that is gone already is only noted, so a crash in between is mended."""
    for name in names:
        try:
            (state.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(
                kind_of(error),
                f"cannot delete {state.root / name} from the archive: {error.strerror}; check the "
                "disk and the rights of this user",
            ) from error
    if names:
        with store.transaction():
            set_archive_deleted(store, names)
    return len(names)
