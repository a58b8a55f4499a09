"""Whether the database is whole, for a person who asks."""

from __future__ import annotations

from edge.store import Store


def quick_check(store: Store) -> list[str]:
    """What SQLite finds wrong, at most ten findings; empty where it is whole."""
    rows = store.execute("PRAGMA quick_check(10)")
    return [str(row[0]) for row in rows if row[0] != "ok"]
