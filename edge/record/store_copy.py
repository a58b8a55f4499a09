"""Whether a database is whole, and a copy of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError
from edge.record.store import Store, TimeIsOverError

# What only people can give comes first where time is short.
_PRECIOUS = (
    "meta", "gallery_log", "review", "individual", "exemplar", "exemplar_embedding", "said",
    "observation", "event",
)  # fmt: skip
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
            for table in sorted(tables(store), key=_importance):
                problems += told(store, f"PRAGMA quick_check({table})")
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
        found = told(store, f"PRAGMA integrity_check({_MAX_TOLD})")
        broken = store.execute("PRAGMA foreign_key_check")
    except StateError as error:
        if error.kind != "damaged":
            raise
        return [str(error)]
    return [*found, *(f"{row[0]} names a row of {row[2]} that is not there" for row in broken)]


def copy_into(store: Store, path: Path) -> None:
    """A consistent copy in a new file, also while another program writes; not yet synced."""
    store.execute("VACUUM INTO ?", (str(path),))


def told(store: Store, pragma: str) -> list[str]:
    return [str(row[0]) for row in store.execute(pragma) if row[0] != "ok"][:_MAX_TOLD]


def tables(store: Store) -> list[str]:
    rows = store.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [str(row[0]) for row in rows if not row[0].startswith("sqlite_")]


def _importance(table: str) -> tuple[int, str]:
    return (_PRECIOUS.index(table) if table in _PRECIOUS else len(_PRECIOUS), table)
