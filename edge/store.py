"""The state database: opening it, its schema, its transactions. SQL lives in store*.py only.

One writer (it holds the lock of edge/state.py) and any number of read-only readers. Every commit
is on the disk when it returns: WAL with synchronous=FULL.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from edge.errors import StateError, StateKind

SCHEMA_VERSION = 4  # the last of the steps in edge/schema
DECISIONS_KEY = "decisions"  # in meta: what the thresholds in force mean, as a sentence
_JOURNAL_LIMIT = 16 * 1024 * 1024
Value = str | bytes | int | float | None
Row = tuple[Any, ...]


class Store:
    """An open database. `open_store` and `open_reader` are the ways to get one."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path = path
        self._connection = connection

    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        try:
            return list(self._connection.execute(sql, values))
        except apsw.Error as error:
            raise _as_state_error(self.path, error) from error

    def execute_many(self, sql: str, rows: Iterable[tuple[Value, ...]]) -> None:
        try:
            self._connection.executemany(sql, rows)
        except apsw.Error as error:
            raise _as_state_error(self.path, error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on the disk when the block is left."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()


def open_store(path: Path) -> Store:
    """The database for its one writer; made when there is none. Raises StateError."""
    try:
        connection = apsw.Connection(str(path))
        store = Store(path, connection)
        _set_up(store)
        for setting in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=1000"):
            store.execute(f"PRAGMA {setting}")
        store.execute(f"PRAGMA journal_size_limit={_JOURNAL_LIMIT}")
    except apsw.Error as error:
        raise _as_state_error(path, error) from error
    _migrate(store)
    _check_version(store)
    return store


def open_reader(path: Path) -> Store:
    """The database for reading beside a writer; raises StateError when there is none."""
    if not path.is_file():
        raise StateError(
            "other",
            f"{path.parent} holds no sightings yet (no {path.name}); run `edge-watch INBOX` "
            "first, or give its folder with --state DIR",
        )
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        connection = apsw.Connection(_reader_uri(path), flags=flags)
        store = Store(path, connection)
        _set_up(store)
    except apsw.Error as error:
        raise _as_state_error(path, error) from error
    _check_version(store)
    return store


def _reader_uri(path: Path) -> str:
    """A database nobody writes to is read as it is where nothing may be put beside it.

    In WAL mode even a reader makes two files, which a copy on a read-only disk does not let it.
    """
    uri = "file:" + quote(os.fsencode(path.absolute()))
    has_writer = path.with_name(path.name + "-wal").exists()
    return uri if has_writer or os.access(path.parent, os.W_OK) else uri + "?immutable=1"


def _set_up(store: Store) -> None:
    for setting in (
        "busy_timeout=5000",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        "cell_size_check=ON",
        "temp_store=MEMORY",
    ):
        store.execute(f"PRAGMA {setting}")


def _migrate(store: Store) -> None:
    """Takes every step of edge/schema that is missing, each in a transaction that records it."""
    for number in range(_version(store) + 1, SCHEMA_VERSION + 1):
        _take_step(store, number)


def _take_step(store: Store, number: int) -> None:
    step = resources.files("edge").joinpath(f"schema/{number:04}.sql").read_text(encoding="utf-8")
    store.execute("PRAGMA foreign_keys=OFF")  # it is no switch inside a transaction
    with store.transaction():
        store.execute(step)
        put_meta(store, "schema_version", str(number))
        if number == 1:
            put_meta(store, "created_at", now())
        broken = store.execute("PRAGMA foreign_key_check")
        assert not broken, broken
    store.execute("PRAGMA foreign_keys=ON")


def _version(store: Store) -> int:
    """0 where there are no tables yet."""
    if not store.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'"):
        return 0
    return int(get_meta(store, "schema_version") or 0)


def _check_version(store: Store) -> None:
    version = _version(store)
    if version != SCHEMA_VERSION:
        raise StateError(
            "other",
            f"{store.path} has the schema version {version}, this program knows "
            f"{SCHEMA_VERSION}; use the release of fancl that wrote it, or a newer one",
        )


def put_meta(store: Store, key: str, value: str) -> None:
    store.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET value = excluded.value",
        (key, value),
    )


def get_meta(store: Store, key: str) -> str | None:
    rows = store.execute("SELECT value FROM meta WHERE key = ?", (key,))
    return str(rows[0][0]) if rows else None


def _as_state_error(path: Path, error: apsw.Error) -> StateError:
    kind: StateKind = "other"
    advice = "check the disk, then start again (nothing recorded is lost)"
    if isinstance(error, (apsw.NotADBError, apsw.CorruptError)):
        kind = "damaged"
        advice = "the file is damaged; set the state folder aside and restore a copy of it"
    elif isinstance(error, apsw.FullError):
        kind = "full"
        advice = "the disk is full; free some space and start again (nothing recorded is lost)"
    elif isinstance(error, (apsw.ReadOnlyError, apsw.PermissionsError)):
        kind = "read-only"
        advice = (
            "this user may not write to it, or the disk is mounted read-only; run the command as "
            "the user the state folder belongs to, or give another folder with --state DIR"
        )
    elif isinstance(error, apsw.CantOpenError):
        advice = (
            "check that its folder is there and that this user may write to it, or give another "
            "folder with --state DIR"
        )
    elif isinstance(error, apsw.IOError):
        kind = "io"
    elif isinstance(error, apsw.BusyError):
        kind = "in-use"
    return StateError(kind, f"the database {path} does not work ({error}): {advice}")


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique over devices, and sorted by the time it was made."""
    value = int(time.time() * 1000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
