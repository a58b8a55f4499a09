"""The steps that make and change the tables, the version they have come to, and `meta`."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from edge.errors import StateError

if TYPE_CHECKING:
    from edge.record.store import Store


def migrate(store: Store, last: int, moment: str) -> None:
    """Takes every step of schema that is missing, each in a transaction that records it."""
    for number in range(version(store) + 1, last + 1):
        take_step(store, number, moment)


def take_step(store: Store, number: int, moment: str) -> None:
    step = (
        resources.files("edge.record")
        .joinpath(f"schema/{number:04}.sql")
        .read_text(encoding="utf-8")
    )
    store.execute("PRAGMA foreign_keys=OFF")  # it is no switch inside a transaction
    with store.transaction(keeps_people=False):
        store.execute(step)
        put_meta(store, "schema_version", str(number))
        if number == 1:
            put_meta(store, "created_at", moment)
        broken = store.execute("PRAGMA foreign_key_check")
        assert not broken, broken
    store.execute("PRAGMA foreign_keys=ON")


def version(store: Store) -> int:
    """0 where there are no tables yet."""
    if not store.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'"):
        return 0
    return int(get_meta(store, "schema_version") or 0)


def check_version(store: Store, known: int) -> None:
    found = version(store)
    if found == known:
        return
    told = f"{store.path} has the schema version {found}, this program knows {known}; "
    if found < known:
        told += "start edge-watch or edge-gallery once, which bring it up to date"
    else:
        told += "use the release of fancl that wrote it, or a newer one"
    raise StateError("other", told)


def put_meta(store: Store, key: str, value: str) -> None:
    store.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET value = excluded.value",
        (key, value),
    )


def get_meta(store: Store, key: str) -> str | None:
    rows = store.execute("SELECT value FROM meta WHERE key = ?", (key,))
    return str(rows[0][0]) if rows else None
