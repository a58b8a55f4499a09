"""A database as after seasons of work, made by SQL in seconds."""

from __future__ import annotations

from pathlib import Path

from edge.record.store import open_store

_EARLY = "'2026-01-01T00:00:00.000Z'"
_SHA = "printf('%08x%056x', (i * 2654435761) % 4294967296, i)"
_MOMENT = "strftime('%Y-%m-%dT%H:%M:%S', '2026-01-01', i || ' seconds')"
_EVENT = "printf('event %08d', i - (i - 1) % 4)"  # of four pictures
_OBSERVATION = "printf('observation %08d', i - (i - 1) % 4)"
_PATH = "'/inbox/cam1/IMG_' || printf('%08d', i) || '.jpg'"

_MEDIA = (
    "INSERT INTO media (sha256, deployment_id, state, attempts, num_bytes, kind, width, height, "
    "captured_at, time_source, observation_type, seq, clock_trusted, seen_at, done_at) "
    f"SELECT {_SHA}, 'cam1', iif(i <= :num_open, 'claimed', 'done'), 1, 500000, 'image', 1920, "
    f"1080, {_MOMENT}, 'exif', 'animal', i, 1, {_EARLY}, {_EARLY} FROM n ORDER BY 1",
    "INSERT INTO media_path (path, sha256, display, num_bytes, mtime_ns, seen_at) "
    f"SELECT CAST({_PATH} AS BLOB), {_SHA}, {_PATH}, 500000, i * 1000000000, {_EARLY} FROM n "
    "ORDER BY 1",
)
_SIGHTINGS = (
    f"INSERT INTO event SELECT {_EVENT}, 'cam1', {_MOMENT}, {_MOMENT} FROM n WHERE i % 4 = 1 "
    "ORDER BY 1",
    "INSERT INTO observation (observation_id, event_id, decision, num_frames, num_usable, model, "
    f"encoder_id, decided_at) SELECT {_OBSERVATION}, {_EVENT}, 'review', 4, 4, 'tiny', "
    f"hex(zeroblob(32)), {_EARLY} FROM n WHERE i % 4 = 1 ORDER BY 1",
    "INSERT INTO detection (detection_id, sha256, event_id, observation_id, observation_type, x, "
    "y, width, height, usable, flank, embedding, encoder_id, crop) "
    f"SELECT printf('detection %08d', i), {_SHA}, {_EVENT}, {_OBSERVATION}, 'animal', 0, 0, 1, 1, "
    "1, 'unknown', randomblob(1024), hex(zeroblob(32)), hex(randomblob(32)) FROM n ORDER BY 1",
)


def fill(path: Path, num_media: int, *, num_open: int = 0, with_sightings: bool) -> None:
    """Pictures of one camera, the first `num_open` of them claimed and not done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    store = open_store(path)
    for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-200000"):
        store.execute(f"PRAGMA {setting}")
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {num_media}) "
    with store.transaction():
        indexes = store.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOTNULL"
        )
        for name, _ in indexes:  # made at the end: sorting takes less than inserting anywhere
            store.execute(f"DROP INDEX {name}")
        store.execute(
            f"INSERT INTO deployment (deployment_id, created_at) VALUES ('cam1', {_EARLY})"
        )
        for statement in (*_MEDIA, *(_SIGHTINGS if with_sightings else ())):
            store.execute(numbers + statement.replace(":num_open", str(num_open)))
        for _, sql in indexes:
            store.execute(sql)
    store.execute("PRAGMA journal_mode=WAL")
    store.close()
