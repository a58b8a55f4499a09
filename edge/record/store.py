"""The state database: opening it, its schema, its transactions. SQL lives in store*.py only.

One writer (it holds the lock of state.py) and any number of read-only readers. Every commit
is on the disk when it returns: WAL with synchronous=FULL. After a failed write or sync a connection
believes nothing any more until `reopen`. Does not cover copies and damage (backup.py).
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from edge.errors import StateError
from edge.record import store_people, store_schema
from edge.record.store_errors import ADVICE, as_state_error
from edge.record.store_schema import get_meta as get_meta
from edge.record.store_schema import put_meta as put_meta

SCHEMA_VERSION = 9  # the last of the steps in schema
DECISIONS_KEY = "decisions"  # in meta: what the thresholds in force mean, as a sentence
# A commit writes whole pages: at a picture a commit, 4 KB pages are 141 KB a picture, these 51.
PAGE_BYTES = 1024
_CHECKPOINT_PAGES = 8000
_CACHE_KB = 32 * 1024  # memory; a restart asks for 100,000 known files at once
_JOURNAL_LIMIT = 16 * 1024 * 1024
Value = str | bytes | int | float | None
Row = tuple[Any, ...]


class TimeIsOverError(StateError):
    """The time given by `Store.interrupted_after` was over."""


class Store:
    """An open database. `open_store` and `open_reader` are the ways to get one."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path = path
        self._connection = connection
        self._failure: StateError | None = None  # of the disk: see `reopen`
        self._deferred: list[tuple[str, tuple[Value, ...]]] = []
        self._num_taken_back = 0  # transactions

    @property
    def version(self) -> tuple[int, int]:
        """Another one when somebody else has changed the database, or a transaction here failed."""
        ((by_others,),) = self.execute("PRAGMA data_version")
        return int(by_others), self._num_taken_back

    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        with self._told():
            return list(self._connection.execute(sql, values))

    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> Iterator[Row]:
        """Row by row, for what does not fit into memory."""
        with self._told():
            yield from self._connection.execute(sql, values)

    def execute_many(self, sql: str, rows: Iterable[tuple[Value, ...]]) -> list[Row]:
        """One statement for many values; all rows that come of it, in that order."""
        with self._told():
            return list(self._connection.executemany(sql, rows))

    @contextmanager
    def transaction(self, keeps_people: bool = True) -> Iterator[None]:
        """All or nothing; on the disk when the block is left.

        What people said is then in its second copy too, unless `keeps_people` is false.
        """
        self.execute("BEGIN IMMEDIATE")
        listener = None
        num_deferred = len(self._deferred)
        try:
            if keeps_people:
                listener = store_people.Listener(self, self._connection)
            for sql, values in self._deferred:
                self.execute(sql, values)
            yield
            self.execute("COMMIT")
            has_heard = listener is not None and listener.has_heard()
        except BaseException:
            self._num_taken_back += 1
            self.roll_back()
            raise
        finally:
            if listener is not None:
                listener.close()
        del self._deferred[:num_deferred]
        if has_heard:
            store_people.keep(self)

    def defer(self, sql: str, values: tuple[Value, ...]) -> None:
        """Goes along with the next transaction, or with `close`; a crash before it loses it."""
        self._deferred.append((sql, values))

    def write_deferred(self) -> None:
        """Now, for where no transaction is to be expected soon."""
        if self._deferred:
            with self.transaction():
                pass

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One state of the database for many reads, which take the file's locks only once."""
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.roll_back()

    @contextmanager
    def interrupted_after(self, seconds: float) -> Iterator[None]:
        """Statements of the block raise TimeIsOverError when the time is over."""
        until = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None)

    def reopen(self) -> None:
        """A fresh connection, for after a StateError of kind "io".

        What a failed sync left in memory may look written and never reach the disk, so nothing is
        read through the old connection, and what the journal holds is written out anew before
        anything is built on it. Raises StateError while the disk still fails.
        """
        _close(self._connection)
        failure = StateError("io", f"the database {self.path} could not be opened again")
        self._failure = failure
        self._connection = _connect(self.path)
        self._failure = None
        try:
            _set_up_writer(self)
        except StateError:
            self._failure = failure
            raise

    def close(self) -> None:
        try:
            if self._failure is None:
                self.write_deferred()
        finally:
            _close(self._connection)

    def roll_back(self) -> None:
        """Where even that fails, the connection is not believed any more."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            self._failure = as_state_error(self.path, error)

    @contextmanager
    def _told(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except apsw.InterruptError as error:
            raise TimeIsOverError("other", f"reading {self.path} takes too long") from error
        except UnicodeDecodeError as error:
            told = f"the database {self.path} holds a broken text: {ADVICE['damaged']}"
            raise StateError("damaged", told) from error
        except apsw.Error as error:
            failure = as_state_error(self.path, error)
            if failure.kind == "io":
                self._failure = failure
            raise failure from error


def open_store(path: Path) -> Store:
    """The database for its one writer; made when there is none. Raises StateError."""
    store = Store(path, _connect(path))
    try:
        _set_up_writer(store)
        store_schema.migrate(store, SCHEMA_VERSION, now())
        store_schema.check_version(store, SCHEMA_VERSION)
    except BaseException:
        store.close()
        raise
    return store


def _connect(path: Path) -> apsw.Connection:
    try:
        return apsw.Connection(str(path))
    except apsw.Error as error:
        raise as_state_error(path, error) from error


def _close(connection: apsw.Connection) -> None:
    """The descriptors go in any case; what could not be written out stays in the journal."""
    try:
        connection.close()
    except apsw.Error:
        connection.close(True)


def _set_up_writer(store: Store) -> None:
    _set_up(store)
    for setting in (
        f"page_size={PAGE_BYTES}",  # of a new database
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        f"journal_size_limit={_JOURNAL_LIMIT}",
        "wal_checkpoint(TRUNCATE)",
    ):
        store.execute(f"PRAGMA {setting}")


def open_reader(path: Path, older_too: bool = False) -> Store:
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
    except apsw.Error as error:
        raise as_state_error(path, error) from error
    store = Store(path, connection)
    try:
        _set_up(store)
        if not (older_too and 0 < store_schema.version(store) < SCHEMA_VERSION):
            store_schema.check_version(store, SCHEMA_VERSION)
    except BaseException:
        store.close()
        raise
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
        f"cache_size=-{_CACHE_KB}",
    ):
        store.execute(f"PRAGMA {setting}")


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique over devices, and sorted by the time it was made."""
    value = int(time.time() * 1000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
