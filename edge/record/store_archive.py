"""Where the files of recorded media went, in the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath

from edge.intake.inbox import FoundFile
from edge.record.store import Store


@dataclass(frozen=True, kw_only=True)
class ArchiveKey:
    """What the archive's file name is made of."""

    sha256: str
    captured_at: datetime


def archive_key(store: Store, sha256: str) -> ArchiveKey:
    rows = store.execute("SELECT captured_at FROM media WHERE sha256 = ?", (sha256,))
    return ArchiveKey(sha256=sha256, captured_at=datetime.fromisoformat(rows[0][0]))


def set_disposed(store: Store, file: FoundFile, sha256: str, disposed_to: str) -> None:
    """With the next transaction; what a crash loses of it is found by edge/record/stock.py."""
    store.defer(
        "UPDATE media_path SET disposed_to = ? WHERE path = ? AND sha256 = ?",
        (disposed_to, file.path_bytes, sha256),
    )


# What may go from the archive: nothing a person looked at, nor what an animal is known by.
_ARCHIVED = (
    "SELECT DISTINCT disposed_to FROM media_path CROSS JOIN media USING (sha256) "
    "WHERE disposed_to <> 'deleted' AND state = 'done' "
    "AND NOT EXISTS (SELECT 1 FROM exemplar WHERE exemplar.sha256 = media.sha256) "
    "AND NOT EXISTS (SELECT 1 FROM detection JOIN review USING (observation_id) "
    "WHERE detection.sha256 = media.sha256) "
)


def archived_before(store: Store, moment: datetime, limit: int) -> list[str]:
    """Files of the archive, relative to the state folder, recorded before then (aware, UTC).

    Only those recorded under a clock that could be trusted.
    """
    text = moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    text = text.replace("+00:00", "Z")
    rows = store.execute(
        _ARCHIVED + "AND clock_trusted = 1 AND media.seen_at < ? AND done_at < ? "
        "ORDER BY seq LIMIT ?",
        (text, text, limit),
    )
    return [str(name) for (name,) in rows]


def oldest_archived(store: Store, limit: int) -> list[str]:
    """Files of the archive, relative to the state folder, the first to arrive first."""
    rows = store.execute(_ARCHIVED + "ORDER BY seq LIMIT ?", (limit,))
    return [str(name) for (name,) in rows]


def set_archive_deleted(store: Store, names: Iterable[str]) -> None:
    """Two names of one medium may share a file of the archive."""
    store.execute_many(
        "UPDATE media_path SET disposed_to = 'deleted' WHERE disposed_to = ?1 AND sha256 = ?2",
        ((name, PurePosixPath(name).stem) for name in names),
    )


def archived_names(store: Store) -> set[str]:
    """Every file of the archive that a record names, relative to the state folder."""
    rows = store.rows("SELECT disposed_to FROM media_path WHERE disposed_to <> 'deleted'")
    return {str(name) for (name,) in rows}


def paths_left(store: Store, sha256: str) -> list[bytes] | None:
    """Where a medium's files lie as far as is recorded; None: the medium is not known."""
    if not store.execute("SELECT 1 FROM media WHERE sha256 = ?", (sha256,)):
        return None
    rows = store.execute(
        "SELECT path FROM media_path WHERE sha256 = ? AND disposed_to IS NULL", (sha256,)
    )
    return [path for (path,) in rows]


def note_archived(store: Store, sha256: str, path: bytes, name: str) -> None:
    store.execute(
        "UPDATE media_path SET disposed_to = ? WHERE path = ? AND sha256 = ?", (name, path, sha256)
    )
