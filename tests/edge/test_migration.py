"""A database of an older version is brought up to date, all of a step or none of it."""

from __future__ import annotations

from importlib import resources

import apsw
import pytest

from edge.errors import StateError
from edge.record.store import SCHEMA_VERSION, now, open_reader, open_store
from edge.record.store_copy import check_thoroughly
from edge.record.store_schema import take_step

STEPS = range(2, SCHEMA_VERSION + 1)


def _old(path, version=1):
    """A database of that version with two pictures and a detection in it."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous=OFF")
    for number in range(1, version + 1):
        connection.execute(_step(number))
    for statement in (
        f"INSERT INTO meta VALUES ('schema_version', '{version}')",
        "INSERT INTO deployment (deployment_id, created_at) VALUES ('cam', '2026')",
    ):
        connection.execute(statement)
    if version == 1:
        for sha256, seen_at in (("b", "2026-01-01"), ("a", "2026-01-02")):
            connection.execute(
                "INSERT INTO media (sha256, deployment_id, state, attempts, num_bytes, width, "
                "height, captured_at, time_source, observation_type, seen_at, done_at) "
                "VALUES (?, 'cam', 'done', 1, 5, 4, 3, '2026', 'exif', 'animal', ?, '2026')",
                (sha256, seen_at),
            )
        connection.execute(
            "INSERT INTO detection (detection_id, sha256, observation_type, x, y, width, height, "
            "usable, flank) VALUES ('d', 'a', 'animal', 0, 0, 1, 1, 1, 'unknown')"
        )
    connection.close()


def _step(number):
    return (
        resources.files("edge.record")
        .joinpath(f"schema/{number:04}.sql")
        .read_text(encoding="utf-8")
    )


def test_the_writer_brings_an_old_database_up_to_date(tmp_path):
    path = tmp_path / "edge.db"
    _old(path)
    store = open_store(path)
    assert store.execute("SELECT value FROM meta WHERE key = 'schema_version'") == [
        (str(SCHEMA_VERSION),)
    ]
    rows = store.execute("SELECT sha256, seq, kind, clock_trusted FROM media ORDER BY seq")
    assert rows == [("b", 1, "image", None), ("a", 2, "image", None)]
    assert store.execute("SELECT detection_id, frame_ms FROM detection") == [("d", None)]
    assert check_thoroughly(store) == []
    store.close()


def test_a_reader_of_an_old_database_says_who_brings_it_up_to_date(tmp_path):
    path = tmp_path / "edge.db"
    _old(path)
    with pytest.raises(StateError, match="start edge-watch or edge-gallery once"):
        open_reader(path)


@pytest.mark.parametrize("number", STEPS)
def test_a_crash_at_any_statement_of_a_step_leaves_the_old_version_or_the_new(tmp_path, number):
    num_statements = 0

    def refuse_at(at):
        nonlocal num_statements
        num_statements = 0

        def trace(cursor, sql, bindings):
            nonlocal num_statements
            num_statements += 1
            if num_statements == at:
                raise KeyboardInterrupt
            return True

        return trace

    at = 0
    while True:
        at += 1
        path = tmp_path / f"{at}.db"
        _old(path, number - 1)
        store = _open_with(path, refuse_at(at))
        try:
            take_step(store, number, now())
        except KeyboardInterrupt:
            version = store.execute("SELECT value FROM meta WHERE key = 'schema_version'")
            assert version in ([(str(number - 1),)], [(str(number),)])
            assert store.execute("SELECT 1 FROM sqlite_schema WHERE name LIKE '%_new'") == []
            store.close()
        else:
            store.close()
            break
    assert at > 5


def _open_with(path, trace):
    """The database as it is, with each statement of it seen by `trace`."""
    from edge.record.store import Store, _connect

    connection = _connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    connection.exec_trace = trace
    return Store(path, connection)
