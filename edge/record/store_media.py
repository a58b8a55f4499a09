"""Media in the database: which files are known, claimed, done or quarantined."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edge.detect import ObservationType
from edge.errors import MediaReason
from edge.intake.inbox import FoundFile
from edge.record.store import Store, now

MAX_ATTEMPTS = 3  # that end its decoder
# That end the program: the first time others were in hand too, and power cuts are nobody's fault.
MAX_CLAIMS = MAX_ATTEMPTS + 1
_MANY_FILES = 5000
_Key = tuple[bytes, int, int]  # path, size, time
MediaState = Literal["claimed", "done", "quarantined"]
MediaKind = Literal["image", "video"]
TimeSource = Literal["exif", "container", "name", "mtime"]  # mtime: only the file's time


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

    kind: MediaKind
    width: int  # pixels, upright
    height: int
    num_frames: int | None  # of a clip: frames looked at; None: a still picture
    duration_seconds: float | None  # of a clip
    captured_at: datetime
    camera_time: datetime | None  # before the clock's shift was put right; None: not known
    time_source: TimeSource
    utc_offset_minutes: int | None  # of captured_at, where the camera wrote it
    latitude: float | None  # degrees, WGS 84, where the camera wrote them
    longitude: float | None
    camera: str | None  # its serial number, else its model
    damage: str | None  # what is broken although it decodes; None: nothing found
    observation_type: ObservationType


def find_all_known(store: Store, files: Iterable[FoundFile]) -> dict[str, KnownFile]:
    """What is recorded, by `FoundFile.path`; 100,000 of them take about half a second."""
    keys = [(file.path_bytes, file.num_bytes, file.mtime_ns) for file in files]
    if len(keys) > _MANY_FILES and 4 * len(keys) > _num_paths(store):
        return _find_among_all(store, keys)
    with store.snapshot():
        rows = store.execute_many(
            "SELECT path, state, sha256, attempts, reason FROM media_path "
            "JOIN media USING (sha256) "
            "WHERE path = ? AND media_path.num_bytes = ? AND mtime_ns = ?",
            keys,
        )
        known = {path: _known(*values) for path, *values in rows}
        rows = store.execute_many(
            "SELECT path, 'quarantined', sha256, 0, reason FROM quarantine "
            "WHERE path = ? AND num_bytes = ? AND mtime_ns = ?",
            (key for key in keys if key[0] not in known),
        )
        known.update({path: _known(*values) for path, *values in rows})
    return {os.fsdecode(path): one for path, one in known.items()}


def _num_paths(store: Store) -> int:
    return int(store.execute("SELECT count(*) FROM media_path")[0][0])


def _find_among_all(store: Store, keys: list[_Key]) -> dict[str, KnownFile]:
    """Each table read once takes less than asking for each of very many files."""
    asked = {key[0]: key for key in keys}
    known: dict[str, KnownFile] = {}
    with store.snapshot():
        for path, num_bytes, mtime_ns, sha256, reason in store.rows(
            "SELECT path, num_bytes, mtime_ns, sha256, reason FROM quarantine"
        ):
            if asked.get(path) == (path, num_bytes, mtime_ns):
                known[os.fsdecode(path)] = _known("quarantined", sha256, 0, reason)
        media = {
            sha256: _known(state, sha256, attempts, reason)
            for sha256, state, attempts, reason in store.rows(
                "SELECT sha256, state, attempts, reason FROM media"
            )
        }
        for path, num_bytes, mtime_ns, sha256 in store.rows(
            "SELECT path, num_bytes, mtime_ns, sha256 FROM media_path"
        ):  # the last word, where both have one
            if asked.get(path) == (path, num_bytes, mtime_ns):
                known[os.fsdecode(path)] = media[sha256]
    return known


def _known(state: MediaState, sha256: str | None, attempts: int, reason: str | None) -> KnownFile:
    return KnownFile(state=state, sha256=sha256, attempts=attempts, reason=reason)


def claim(
    store: Store,
    sha256: str,
    files: Sequence[FoundFile],
    boot_id: str | None,
    clock_trusted: bool | None,
) -> MediaState:
    """The state of a medium found under these names, one more attempt counted if it is open.

    Call it in a transaction that ends before decoding begins. `boot_id` names the start of the
    system, `clock_trusted` says whether its clock can be believed; None where not known.
    """
    deployment_id = files[0].deployment_id
    store.execute(
        "INSERT INTO deployment (deployment_id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (deployment_id, now()),
    )
    store.execute(
        "INSERT INTO media (sha256, deployment_id, state, attempts, num_bytes, seq, boot_id, "
        "clock_trusted, seen_at) "
        "SELECT ?, ?, 'claimed', 0, ?, coalesce(max(seq), 0) + 1, ?, ?, ? FROM media WHERE true "
        "ON CONFLICT DO NOTHING",
        (sha256, deployment_id, files[0].num_bytes, boot_id, clock_trusted, now()),
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
    if attempts >= MAX_CLAIMS:
        quarantine(store, sha256, files, "crashed", crash_detail(attempts))
        return "quarantined"
    store.execute(
        "UPDATE media SET state = 'claimed', attempts = attempts + 1 WHERE sha256 = ?", (sha256,)
    )
    return "claimed"


def release(store: Store, media: Iterable[str]) -> None:
    """Gives media their attempt back: what ended it (a full disk, a stop) was none of theirs.

    They stay claimed, and are taken up again. Call it in a transaction.
    """
    store.execute_many(
        "UPDATE media SET attempts = max(0, attempts - 1) WHERE sha256 = ? AND state = 'claimed'",
        ((sha256,) for sha256 in media),
    )


def fail(
    store: Store, sha256: str, files: Sequence[FoundFile], reason: MediaReason, detail: str
) -> MediaState:
    """The state of a medium whose decoding ended its worker: taken up again, up to MAX_ATTEMPTS.

    The attempt was counted when it was claimed. Call it in a transaction.
    """
    attempts = store.execute("SELECT attempts FROM media WHERE sha256 = ?", (sha256,))[0][0]
    if attempts < MAX_ATTEMPTS:
        return "claimed"
    quarantine(store, sha256, files, reason, f"{detail}, {attempts} times")
    return "quarantined"


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
        "UPDATE media SET state = 'done', kind = ?, width = ?, height = ?, num_frames = ?, "
        "duration_seconds = ?, captured_at = ?, camera_time = ?, time_source = ?, "
        "utc_offset_minutes = ?, latitude = ?, longitude = ?, camera = ?, damage = ?, "
        "observation_type = ?, done_at = ? WHERE sha256 = ?",
        (
            outcome.kind,
            outcome.width,
            outcome.height,
            outcome.num_frames,
            outcome.duration_seconds,
            outcome.captured_at.isoformat(),
            None if outcome.camera_time is None else outcome.camera_time.isoformat(),
            outcome.time_source,
            outcome.utc_offset_minutes,
            outcome.latitude,
            outcome.longitude,
            outcome.camera,
            outcome.damage,
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


def free_quarantined(store: Store, displays: Sequence[str] | None, reason: str | None) -> list[str]:
    """Takes files out of quarantine, their attempts back to 0; the names of those freed.

    By name, by reason, or all of them. Call it in a transaction.
    """
    rows = store.execute(
        "SELECT DISTINCT display, sha256 FROM quarantine WHERE ?1 IS NULL OR reason = ?1", (reason,)
    )
    chosen = [row for row in rows if displays is None or row[0] in displays]
    media = {sha256 for _, sha256 in chosen if sha256 is not None}
    # The same bytes under other names are freed too.
    names = {display for display, sha256 in rows if sha256 in media}
    store.execute_many(
        "UPDATE media SET state = 'claimed', attempts = 0, reason = NULL, done_at = NULL "
        "WHERE sha256 = ? AND state = 'quarantined'",
        ((sha256,) for sha256 in media),
    )
    store.execute_many("DELETE FROM quarantine WHERE sha256 = ?", ((one,) for one in media))
    unread = [display for display, sha256 in chosen if sha256 is None]
    store.execute_many(
        "DELETE FROM quarantine WHERE display = ? AND sha256 IS NULL", ((one,) for one in unread)
    )
    return sorted({*names, *unread})


def unreadable_places(store: Store) -> list[bytes]:
    """Paths of the folders and files of which not even size and time are known."""
    rows = store.execute(
        "SELECT path FROM quarantine WHERE reason = 'unreadable' "
        "AND num_bytes = 0 AND mtime_ns = 0 AND sha256 IS NULL"
    )
    return [path for (path,) in rows]


def drop_quarantine(store: Store, path: bytes) -> None:
    store.execute("DELETE FROM quarantine WHERE path = ? AND sha256 IS NULL", (path,))


def shows_people(store: Store, sha256: str) -> bool:
    """By its detections."""
    return bool(
        store.execute(
            "SELECT 1 FROM detection WHERE sha256 = ? AND observation_type = 'human' LIMIT 1",
            (sha256,),
        )
    )
