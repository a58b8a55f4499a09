"""Whether a database is whole, a copy of it, and what can still be read of a damaged one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError
from edge.store import Row, Store, TimeIsOverError, open_reader

# What only people can give comes first where time is short.
_PRECIOUS = ("meta", "individual", "exemplar", "gallery_log", "review", "observation", "event")
_MAX_TOLD = 5


@dataclass(frozen=True, kw_only=True)
class Check:
    problems: list[str]  # as SQLite words them; none: whole, as far as it was looked at
    is_complete: bool  # false: time was over before all tables were looked at


def check(store: Store, seconds: float) -> Check:
    """SQLite's quick check, table by table, for so many seconds at most.

    It finds broken pages and rows out of order or of the wrong type; not a changed letter inside
    a text. 1.5 GB take about 4 s where the file is in memory.
    """
    problems: list[str] = []
    try:
        with store.interrupted_after(seconds):
            for table in sorted(_tables(store), key=_importance):
                problems += _told(store, f"PRAGMA quick_check({table})")
    except TimeIsOverError:
        return Check(problems=problems, is_complete=False)
    except StateError as error:
        if error.kind != "damaged":
            raise
        return Check(problems=[*problems, str(error)], is_complete=False)
    return Check(problems=problems, is_complete=True)


def check_thoroughly(store: Store) -> list[str]:
    """What SQLite's integrity check and the references between tables find wrong."""
    try:
        found = _told(store, f"PRAGMA integrity_check({_MAX_TOLD})")
        broken = store.execute("PRAGMA foreign_key_check")
    except StateError as error:
        if error.kind != "damaged":
            raise
        return [str(error)]
    return [*found, *(f"{row[0]} names a row of {row[2]} that is not there" for row in broken)]


def copy_into(store: Store, path: Path) -> None:
    """A consistent copy in a new file, also while another program writes; not yet synced."""
    store.execute("VACUUM INTO ?", (str(path),))


def merge(store: Store, damaged: Path) -> list[str]:
    """Takes over what can be read of a damaged database; the tables that could not be read whole.

    What it holds is newer than what is in `store`: tables that are whole replace those there, of
    the others each readable row does. What then names something lost goes too, and a picture
    without its detections is forgotten, so that it is read again where its file still is.
    Raises StateError when not even the list of tables can be read.
    """
    source = open_reader(damaged)
    try:
        triggers = store.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        store.execute("PRAGMA foreign_keys=OFF")
        with store.transaction():
            for name, _ in triggers:  # append-only is for those who use the tables
                store.execute(f"DROP TRIGGER {name}")
            broken = [one for one in _tables(store) if not _take_over(store, source, one)]
            _drop_what_names_nothing(store)
            _forget_unfinished(store)
            for _, sql in triggers:
                store.execute(sql)
        store.execute("PRAGMA foreign_keys=ON")
    finally:
        source.close()
    return broken


def _told(store: Store, pragma: str) -> list[str]:
    return [str(row[0]) for row in store.execute(pragma) if row[0] != "ok"][:_MAX_TOLD]


def _tables(store: Store) -> list[str]:
    rows = store.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [str(row[0]) for row in rows if not row[0].startswith("sqlite_")]


def _importance(table: str) -> tuple[int, str]:
    return (_PRECIOUS.index(table) if table in _PRECIOUS else len(_PRECIOUS), table)


def _columns(store: Store, table: str) -> list[tuple[str, int]]:
    """(name, place in the primary key or 0)."""
    return [
        (str(name), int(place))
        for name, place in store.execute("SELECT name, pk FROM pragma_table_info(?)", (table,))
    ]


def _take_over(store: Store, source: Store, table: str) -> bool:
    """Whether the table could be read whole."""
    columns = _columns(store, table)
    names = ", ".join(name for name, _ in columns)
    insert = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({', '.join('?' for _ in columns)})"
    if _is_whole(source, table):
        store.execute(f"DELETE FROM {table}")
        store.execute_many(insert, source.rows(f"SELECT {names} FROM {table}"))
        return True
    key = [name for name, place in sorted(columns, key=lambda one: one[1]) if place]
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
        return not _told(source, f"PRAGMA quick_check({table})")
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
        "AND observation_type = 'animal' AND NOT EXISTS (SELECT 1 FROM detection "
        "WHERE detection.sha256 = media.sha256 AND observation_type = 'animal') "
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
