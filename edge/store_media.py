"""Media in the database: which files are known, claimed, done or quarantined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edge.detect import ObservationType
from edge.errors import MediaReason
from edge.inbox import FoundFile
from edge.store import Store, now

MAX_ATTEMPTS = 3
MediaState = Literal["claimed", "done", "quarantined"]
MediaKind = Literal["image", "video"]
TimeSource = Literal["exif", "container", "mtime"]  # the camera's clock, or only the file's


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    """What is recorded of a file that has neither changed in size nor in time."""

    state: MediaState
    sha256: str | None
    attempts: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is recorded of a decoded medium beside its detections."""

    width: int  # pixels
    height: int
    captured_at: datetime
    time_source: TimeSource
    observation_type: ObservationType


def find_known(store: Store, file: FoundFile) -> KnownFile | None:
    key = (file.path_bytes, file.num_bytes, file.mtime_ns)
    rows = store.execute(
        "SELECT state, sha256, attempts, reason FROM media_path JOIN media USING (sha256) "
        "WHERE path = ? AND media_path.num_bytes = ? AND mtime_ns = ?",
        key,
    )
    if rows:
        state, sha256, attempts, reason = rows[0]
        return KnownFile(state=state, sha256=sha256, attempts=attempts, reason=reason)
    rows = store.execute(
        "SELECT sha256, reason FROM quarantine WHERE path = ? AND num_bytes = ? AND mtime_ns = ?",
        key,
    )
    if rows:
        return KnownFile(state="quarantined", sha256=rows[0][0], attempts=0, reason=rows[0][1])
    return None


def claim(store: Store, sha256: str, files: Sequence[FoundFile]) -> MediaState:
    """The state of a medium found under these names, one more attempt counted if it is open.

    Call it in a transaction that ends before decoding begins.
    """
    deployment_id = files[0].deployment_id
    store.execute(
        "INSERT INTO deployment (deployment_id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (deployment_id, now()),
    )
    store.execute(
        "INSERT INTO media (sha256, deployment_id, state, attempts, num_bytes, seq, seen_at) "
        "SELECT ?, ?, 'claimed', 0, ?, coalesce(max(seq), 0) + 1, ? FROM media WHERE true "
        "ON CONFLICT DO NOTHING",
        (sha256, deployment_id, files[0].num_bytes, now()),
    )
    for file in files:
        _add_path(store, sha256, file)
    state, attempts, reason = store.execute(
        "SELECT state, attempts, reason FROM media WHERE sha256 = ?", (sha256,)
    )[0]
    if state == "quarantined":
        for file in files:
            add_quarantine(store, file, sha256, reason, "the same bytes as another file")
        return "quarantined"
    if state == "done":
        return "done"
    if attempts >= MAX_ATTEMPTS:
        quarantine(store, sha256, files, "crashed", crash_detail(attempts))
        return "quarantined"
    store.execute(
        "UPDATE media SET state = 'claimed', attempts = attempts + 1 WHERE sha256 = ?", (sha256,)
    )
    return "claimed"


def crash_detail(attempts: int) -> str:
    return f"the program ended {attempts} times while reading it"


def _add_path(store: Store, sha256: str, file: FoundFile) -> None:
    store.execute(
        "INSERT INTO media_path (path, sha256, display, num_bytes, mtime_ns, note, seen_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "mtime_ns = excluded.mtime_ns, disposed_to = NULL",
        (
            file.path_bytes,
            sha256,
            file.display,
            file.num_bytes,
            file.mtime_ns,
            file.note,
            now(),
        ),
    )
    store.execute("DELETE FROM quarantine WHERE path = ? AND sha256 IS NULL", (file.path_bytes,))


def finish(store: Store, sha256: str, outcome: Outcome) -> None:
    store.execute(
        "UPDATE media SET state = 'done', width = ?, height = ?, captured_at = ?, "
        "time_source = ?, observation_type = ?, done_at = ? WHERE sha256 = ?",
        (
            outcome.width,
            outcome.height,
            outcome.captured_at.isoformat(),
            outcome.time_source,
            outcome.observation_type,
            now(),
            sha256,
        ),
    )


def quarantine(
    store: Store, sha256: str, files: Sequence[FoundFile], reason: MediaReason, detail: str
) -> None:
    """A medium that was read but cannot be used."""
    store.execute(
        "UPDATE media SET state = 'quarantined', reason = ?, done_at = ? WHERE sha256 = ?",
        (reason, now(), sha256),
    )
    for file in files:
        add_quarantine(store, file, sha256, reason, detail)


def add_quarantine(
    store: Store, file: FoundFile, sha256: str | None, reason: str, detail: str
) -> None:
    """One row a file and its bytes, whatever its time stamp did since."""
    store.execute(
        "DELETE FROM quarantine WHERE path = ? AND sha256 IS ?", (file.path_bytes, sha256)
    )
    store.execute(
        "INSERT OR REPLACE INTO quarantine (path, num_bytes, mtime_ns, sha256, display, "
        "deployment_id, reason, detail, note, quarantined_at) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (
            file.path_bytes,
            file.num_bytes,
            file.mtime_ns,
            sha256,
            file.display,
            file.deployment_id,
            reason,
            detail,
            file.note,
            now(),
        ),
    )


def unreadable_places(store: Store) -> list[bytes]:
    """Paths of the folders and files of which not even size and time are known."""
    rows = store.execute(
        "SELECT path FROM quarantine WHERE reason = 'unreadable' "
        "AND num_bytes = 0 AND mtime_ns = 0 AND sha256 IS NULL"
    )
    return [path for (path,) in rows]


def drop_quarantine(store: Store, path: bytes) -> None:
    store.execute("DELETE FROM quarantine WHERE path = ? AND sha256 IS NULL", (path,))


@dataclass(frozen=True, kw_only=True)
class ArchiveKey:
    """What the archive's file name is made of."""

    sha256: str
    captured_at: datetime


def archive_key(store: Store, sha256: str) -> ArchiveKey:
    rows = store.execute("SELECT captured_at FROM media WHERE sha256 = ?", (sha256,))
    return ArchiveKey(sha256=sha256, captured_at=datetime.fromisoformat(rows[0][0]))


def set_disposed(store: Store, file: FoundFile, sha256: str, disposed_to: str) -> None:
    store.execute(
        "UPDATE media_path SET disposed_to = ? WHERE path = ? AND sha256 = ?",
        (disposed_to, file.path_bytes, sha256),
    )
