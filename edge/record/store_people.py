"""A second copy of what only people can give: reviews, the gallery and its log, in STATE.

The file beside the database is brought in step whenever a transaction changes such a row, so that
no damage to the database loses what came after the last backup. With a review go its event's
sightings, as it says nothing without them. Does not cover what cameras can give again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from edge.errors import StateError

if TYPE_CHECKING:
    from edge.record.store import Store

# Rows that a person's word stands for; what is there of them depends on the schema's version.
_SPOKEN = ("individual", "exemplar", "exemplar_embedding", "said", "review", "gallery_log")
DEVICE = "edge-watch"  # who the log says it was; what it says can be had again from pictures
_APPEND_ONLY = frozenset({"review", "gallery_log"})
# What a review needs to say something, by the events it speaks of.
_SIGHTINGS = {
    "deployment": "true",
    "event": "event_id IN touched",
    "observation": "event_id IN touched",
    "detection": "sha256 IN pictured",
    "media": "sha256 IN pictured",
    "media_path": "sha256 IN pictured",
}


def path_of(database: Path) -> Path:
    return database.with_name(database.name + ".people")


class Listener:
    """Notices whether a person speaks in a transaction; the device writes into the log too."""

    def __init__(self, store: Store, connection: apsw.Connection) -> None:
        self._store = store
        self._last = store.execute("SELECT coalesce(max(seq), 0) FROM gallery_log")[0][0]
        self._session = apsw.Session(connection, "main")
        for table in ("review", "exemplar_embedding"):
            self._session.attach(table)

    def has_heard(self) -> bool:
        return not self._session.is_empty or bool(
            self._store.execute(
                "SELECT 1 FROM gallery_log WHERE seq > ? AND who <> ? LIMIT 1",
                (self._last, DEVICE),
            )
        )

    def close(self) -> None:
        self._session.close()


def keep(store: Store, is_whole: bool = False) -> None:
    """Brings the copy in step; what is in step already is only read.

    `is_whole`: the database is known to have all that people said, so what it lacks goes. Does
    nothing for a database in memory.
    A copy that is damaged itself is made anew. Raises StateError.
    """
    if not store.path.is_file():
        return
    try:
        _keep(store, is_whole)
    except StateError as error:
        if error.kind != "damaged" or _is_whole(path_of(store.path)):
            raise
        path_of(store.path).unlink()
        _keep(store, is_whole)


def _keep(store: Store, is_whole: bool) -> None:
    with _attached(store):
        store.execute("BEGIN IMMEDIATE")
        try:
            _copy(store, is_whole)
            store.execute("COMMIT")
        except BaseException:
            store.roll_back()
            raise


@contextmanager
def _attached(store: Store) -> Iterator[None]:
    store.execute("ATTACH ? AS people", (str(path_of(store.path)),))
    try:
        store.execute("PRAGMA people.journal_mode=TRUNCATE")
        # A journal that is rolled back needs its folder synced too (SQLite, "EXTRA").
        store.execute("PRAGMA people.synchronous=EXTRA")
        store.execute("PRAGMA foreign_keys=OFF")  # of the copy: what it needs goes in by and by
        yield
    finally:
        store.execute("PRAGMA foreign_keys=ON")
        store.execute("DETACH people")


def _copy(store: Store, is_whole: bool) -> None:
    """Sightings of reviews that are not there yet, then the words themselves."""
    spoken = [table for table in _SPOKEN if _columns(store, "main", table)]
    for table in (*spoken, *_SIGHTINGS):
        _make_table(store, table)
    store.execute(
        "CREATE TEMP TABLE touched AS SELECT event_id FROM main.observation WHERE observation_id "
        "IN (SELECT observation_id FROM main.review WHERE review_id NOT IN "
        "(SELECT review_id FROM people.review))"
    )
    store.execute(
        "CREATE TEMP TABLE pictured AS "
        "SELECT DISTINCT sha256 FROM main.detection WHERE event_id IN touched"
    )
    for table, which in _SIGHTINGS.items():
        _put(store, table, which)
    store.execute("DROP TABLE temp.touched")
    store.execute("DROP TABLE temp.pictured")
    for table in spoken:
        if is_whole or table not in _APPEND_ONLY:
            _drop_gone(store, table)
        _put(store, table, "true")


def _make_table(store: Store, table: str) -> None:
    """As it is in the database now; after another step of the schema the old one goes."""
    sql = "SELECT sql FROM {}.sqlite_schema WHERE type = 'table' AND name = ?"
    wanted = store.execute(sql.format("main"), (table,))[0][0]
    there = store.execute(sql.format("people"), (table,))
    made = str(wanted).split("(", 1)[1]
    if there and str(there[0][0]).split("(", 1)[1] == made:
        return
    store.execute(f"DROP TABLE IF EXISTS people.{table}")
    store.execute(f"CREATE TABLE people.{table} ({made}")


def _put(store: Store, table: str, which: str) -> None:
    names = ", ".join(name for name, _ in _columns(store, "main", table))
    store.execute(
        f"INSERT OR REPLACE INTO people.{table} ({names}) SELECT {names} FROM main.{table} "
        f"WHERE {which} EXCEPT SELECT {names} FROM people.{table}"
    )


def _drop_gone(store: Store, table: str) -> None:
    key = ", ".join(name for name, place in _columns(store, "main", table) if place)
    store.execute(
        f"DELETE FROM people.{table} WHERE ({key}) NOT IN (SELECT {key} FROM main.{table})"
    )


def _columns(store: Store, schema: str, table: str) -> list[tuple[str, int]]:
    """(name, place in the primary key or 0); none where there is no such table."""
    return [
        (str(name), int(place))
        for name, place in store.execute(
            "SELECT name, pk FROM pragma_table_info(?, ?)", (table, schema)
        )
    ]


def _is_whole(path: Path) -> bool:
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:
        return False
    try:
        return list(connection.execute("PRAGMA integrity_check(1)")) == [("ok",)]
    except apsw.Error:
        return False
    finally:
        connection.close(True)


@contextmanager
def attached_to_read(store: Store, database: Path) -> Iterator[bool]:
    """The copy beside `database` as `people`; false: there is none, or it is of no use."""
    path = path_of(database)
    if not path.is_file() or not _is_whole(path):
        yield False
        return
    store.execute("ATTACH ? AS people", (str(path),))
    try:
        yield _is_of_this_schema(store)
    finally:
        store.execute("DETACH people")


def _is_of_this_schema(store: Store) -> bool:
    there = [table for table in _SPOKEN if _columns(store, "main", table)]
    return all(_columns(store, "main", one) == _columns(store, "people", one) for one in there)


def num_missing(store: Store) -> int:
    """What people said that is in the copy, attached as `people`, and not in the database."""
    reviews = store.execute(
        "SELECT count(*) FROM people.review WHERE review_id NOT IN (SELECT review_id FROM "
        "main.review)"
    )
    entries = store.execute(
        "SELECT count(*) FROM people.gallery_log WHERE who <> ? AND entry_id NOT IN "
        "(SELECT entry_id FROM main.gallery_log)",
        (DEVICE,),
    )
    return int(reviews[0][0]) + int(entries[0][0])


def take_back(store: Store) -> None:
    """Puts what the copy, attached as `people`, holds into the database.

    The gallery becomes what it was last; reviews and their sightings are added. References are the
    caller's to check. Call it in a transaction with foreign keys off and triggers dropped.
    """
    there = {row[0] for row in store.execute("SELECT name FROM people.sqlite_schema")}
    for table in (*_SPOKEN, *_SIGHTINGS):
        if table not in there:
            continue
        if table in _SPOKEN and table not in _APPEND_ONLY:
            store.execute(f"DELETE FROM main.{table}")
        names = ", ".join(name for name, _ in _columns(store, "people", table))
        store.execute(
            f"INSERT OR REPLACE INTO main.{table} ({names}) SELECT {names} FROM people.{table}"
        )
