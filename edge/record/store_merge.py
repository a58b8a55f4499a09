"""What can still be read of a damaged database, put into a copy of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import StateError
from edge.record import store_people
from edge.record.store import Row, Store, open_reader
from edge.record.store_copy import tables, told


def merge(store: Store, damaged: Path) -> list[str] | None:
    """Takes over what can be read of a damaged database; the tables that could not be read whole.

    What people said comes from its second copy first. What the damaged database holds is newer
    than what is in `store`: tables that are whole replace those there, of the others each readable
    row does. What then names something lost goes too, and a picture without its detections is
    forgotten, so that it is read again where its file still is. None: not even the list of tables
    can be read. Nothing is synced: a crash leaves `store` useless.
    """
    with _in_bulk(store), store_people.attached_to_read(store, damaged) as has_people:
        with store.transaction(keeps_people=False), _without_triggers(store):
            indexes = _drop(store, "index", "NOT sql LIKE 'CREATE UNIQUE%'")
            if has_people and store_people.num_missing(store):
                store_people.take_back(store)
            broken = _all_tables(store, damaged)
            for sql in indexes:
                store.execute(sql)
            _drop_what_names_nothing(store)
            _forget_unfinished(store)
    return broken


def bring_back(store: Store) -> int:
    """Reviews and entries of the gallery's log that are only in the second copy; their number.

    Damage to the journal cuts the database back to an earlier state without a word.
    """
    with store_people.attached_to_read(store, store.path) as has_people:
        num_missing = store_people.num_missing(store) if has_people else 0
        if not num_missing:
            return 0
        store.execute("PRAGMA foreign_keys=OFF")
        with store.transaction(keeps_people=False), _without_triggers(store):
            store_people.take_back(store)
            _drop_what_names_nothing(store)
            _forget_unfinished(store)
        store.execute("PRAGMA foreign_keys=ON")
    return num_missing


@contextmanager
def _in_bulk(store: Store) -> Iterator[None]:
    """For a database that nobody needs before it is finished."""
    for setting in ("foreign_keys=OFF", "synchronous=OFF", "journal_mode=TRUNCATE"):
        store.execute(f"PRAGMA {setting}")
    yield
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        store.execute(f"PRAGMA {setting}")


@contextmanager
def _without_triggers(store: Store) -> Iterator[None]:
    """Append-only is for those who use the tables."""
    triggers = _drop(store, "trigger", "true")
    yield
    for sql in triggers:
        store.execute(sql)


def _drop(store: Store, kind: str, which: str) -> list[str]:
    """The statements that make them again."""
    rows = store.execute(
        f"SELECT name, sql FROM main.sqlite_schema WHERE type = '{kind}' "
        f"AND sql NOTNULL AND {which}"
    )
    for name, _ in rows:
        store.execute(f"DROP {kind} {name}")
    return [sql for _, sql in rows]


def _all_tables(store: Store, damaged: Path) -> list[str] | None:
    try:
        source = open_reader(damaged)
    except StateError as error:
        if error.kind not in {"damaged", "other"}:
            raise
        return None
    try:
        return [one for one in tables(store) if not _take_over(store, source, one)]
    finally:
        source.close()


def _columns(store: Store, table: str) -> list[tuple[str, int]]:
    """(name, place in the primary key or 0)."""
    return [
        (str(name), int(place))
        for name, place in store.execute(
            "SELECT name, pk FROM pragma_table_info(?, 'main')", (table,)
        )
    ]


def _take_over(store: Store, source: Store, table: str) -> bool:
    """Whether the table could be read whole."""
    columns = _columns(store, table)
    names = ", ".join(name for name, _ in columns)
    insert = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({', '.join('?' for _ in columns)})"
    key = [name for name, place in sorted(columns, key=lambda one: one[1]) if place]
    if _is_whole(source, table):
        store.execute(f"DELETE FROM {table}")
        rows = source.rows(f"SELECT {names} FROM {table} ORDER BY {', '.join(key)}")
        store.execute_many(insert, rows)
        return True
    # From the front up to the damage, then from the back down to it.
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{name} {direction}" for name in key)
        try:
            for row in source.rows(f"SELECT {names} FROM {table} ORDER BY {order}"):
                _put(store, insert, row)
        except StateError as error:
            if error.kind != "damaged":
                raise
    return False


def _is_whole(source: Store, table: str) -> bool:
    try:
        return not told(source, f"PRAGMA quick_check({table})")
    except StateError as error:
        if error.kind != "damaged":
            raise
        return False


def _put(store: Store, insert: str, row: Row) -> None:
    """A row of a broken page that the table's own rules refuse is left out."""
    try:
        store.execute(insert, row)
    except StateError as error:
        if error.kind != "other":
            raise


def _drop_what_names_nothing(store: Store) -> None:
    """Again and again, as what is dropped may be named too."""
    while broken := store.execute(
        'SELECT DISTINCT checked."table", reference."from", checked.parent, '
        'coalesce(reference."to", (SELECT name FROM pragma_table_info(checked.parent) '
        'WHERE pk = 1)), column."notnull" OR column.pk '
        "FROM pragma_foreign_key_check AS checked "
        'JOIN pragma_foreign_key_list(checked."table") AS reference '
        "ON reference.id = checked.fkid "
        'JOIN pragma_table_info(checked."table") AS column ON column.name = reference."from"'
    ):
        for table, column, parent, key, is_needed in broken:
            names_nothing = f"{column} NOT IN (SELECT {key} FROM {parent})"
            if is_needed:
                store.execute(f"DELETE FROM {table} WHERE {names_nothing}")
            else:
                store.execute(f"UPDATE {table} SET {column} = NULL WHERE {names_nothing}")


def _forget_unfinished(store: Store) -> None:
    """Half a sighting is none: an animal without its decision, a picture without its animal."""
    for statement in (
        "DELETE FROM observation WHERE observation_id NOT IN (SELECT observation_id FROM review) "
        "AND observation_id NOT IN (SELECT observation_id FROM detection "
        "WHERE observation_id IS NOT NULL)",
        "CREATE TEMP TABLE unfinished AS SELECT sha256 FROM media WHERE state = 'done' "
        "AND observation_type = 'animal' AND sha256 NOT IN "  # one pass, no look-ups
        "(SELECT sha256 FROM detection WHERE observation_type = 'animal') "
        "UNION SELECT detection.sha256 FROM detection WHERE observation_type = 'animal' "
        "AND (observation_id IS NULL OR event_id IS NULL)",
        "DELETE FROM detection WHERE sha256 IN unfinished",
        "DELETE FROM media_path WHERE sha256 IN unfinished",
        "DELETE FROM media WHERE sha256 IN unfinished",
        "DROP TABLE unfinished",
        "DELETE FROM event WHERE event_id NOT IN (SELECT event_id FROM observation) "
        "AND event_id NOT IN (SELECT event_id FROM detection WHERE event_id IS NOT NULL)",
    ):
        store.execute(statement)
