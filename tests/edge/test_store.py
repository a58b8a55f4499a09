from __future__ import annotations

import errno
import os
import time
import uuid

import apsw
import pytest

from edge.errors import StateError
from edge.record.state import StateFolder, crop_name, find_state, locked, write_crops, write_file
from edge.record.store import new_id, open_reader, open_store
from edge.record.store_errors import as_state_error


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "edge.db")
    yield opened
    opened.close()


def test_every_commit_is_on_the_disk(store):
    assert store.execute("PRAGMA journal_mode") == [("wal",)]
    assert store.execute("PRAGMA synchronous") == [(2,)]  # FULL
    assert store.execute("PRAGMA foreign_keys") == [(1,)]
    assert store.execute("PRAGMA trusted_schema") == [(0,)]
    assert store.execute("PRAGMA cell_size_check") == [(1,)]
    assert store.execute("PRAGMA temp_store") == [(2,)]  # memory
    assert store.execute("PRAGMA busy_timeout") == [(5000,)]
    assert store.execute("PRAGMA journal_size_limit") == [(16 * 2**20,)]
    assert store.execute("PRAGMA wal_autocheckpoint") == [(8000,)]


def test_all_tables_of_the_design_are_there(store):
    tables = {row[0] for row in store.execute("SELECT name FROM sqlite_schema WHERE type='table'")}
    assert tables == {
        "deployment", "media", "media_path", "event", "detection", "observation", "review",
        "individual", "exemplar", "gallery_log", "quarantine", "meta", "exemplar_embedding",
        "detection_embedding", "said", "motion_background", "crop_light",
    }  # fmt: skip


def test_a_transaction_is_all_or_nothing(store):
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.execute("INSERT INTO deployment (deployment_id, created_at) VALUES ('cam', '2026')")
        raise KeyboardInterrupt
    assert store.execute("SELECT * FROM deployment") == []
    with store.transaction():
        store.execute("INSERT INTO deployment (deployment_id, created_at) VALUES ('cam', '2026')")
    assert store.execute("SELECT count(*) FROM deployment") == [(1,)]


def test_a_schema_of_another_version_is_refused(tmp_path, store):
    store.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    for opener in (open_store, open_reader):
        with pytest.raises(StateError, match="schema version 99, this program knows"):
            opener(tmp_path / "edge.db")


def test_a_damaged_database_is_a_sentence(tmp_path):
    (tmp_path / "edge.db").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StateError, match="the file is damaged"):
        open_store(tmp_path / "edge.db")


def test_a_report_cannot_write(tmp_path, store):
    reader = open_reader(tmp_path / "edge.db")
    with pytest.raises(StateError, match="readonly"):
        reader.execute("DELETE FROM meta")
    reader.close()


def test_a_report_before_the_first_run_is_a_sentence(tmp_path):
    with pytest.raises(StateError, match="run `edge-watch INBOX` first"):
        open_reader(tmp_path / "edge.db")


def test_reviews_cannot_be_changed(store):
    for statement in (
        "INSERT INTO deployment (deployment_id, created_at) VALUES ('cam', '2026')",
        "INSERT INTO event VALUES ('e', 'cam', '2026', '2026')",
        "INSERT INTO observation (observation_id, event_id, decision, num_frames, num_usable, "
        "model, encoder_id, decided_at) VALUES ('o', 'e', 'review', 1, 1, 'm', 'x', '2026')",
        "INSERT INTO review (review_id, observation_id, verdict, reviewed_at) "
        "VALUES ('r', 'o', 'match', '2026')",
    ):
        store.execute(statement)
    for change in ("UPDATE review SET verdict = 'new'", "DELETE FROM review"):
        with pytest.raises(StateError, match="append-only"):
            store.execute(change)


def test_ids_are_version_7_uuids_in_order_of_time():
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert first < second
    parsed = uuid.UUID(first)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert len({new_id() for _ in range(1000)}) == 1000


def test_a_second_writer_is_refused(tmp_path):
    folder = StateFolder(root=tmp_path / "state")
    with (
        locked(folder),
        pytest.raises(StateError, match="in use by another"),
        locked(folder),
    ):
        pass
    with locked(folder):
        pass


def test_what_a_crash_left_half_written_is_swept_away(tmp_path):
    folder = StateFolder(root=tmp_path)
    with locked(folder):
        write_crops(folder, [b"crop"])
        (folder.crops / "half.jpg.tmp").write_bytes(b"ha")
    with locked(folder):
        assert [path.name for path in folder.crops.iterdir()] == [crop_name(b"crop") + ".jpg"]


def test_crops_are_written_whole_however_many_they_are_and_each_once(tmp_path):
    folder = StateFolder(root=tmp_path)
    jpegs = [b"crop %d" % (number % 70) for number in range(100)]
    with locked(folder):
        write_crops(folder, iter(jpegs))
        write_crops(folder, jpegs)
        found = {path.name: path.read_bytes() for path in folder.crops.iterdir()}
    assert found == {crop_name(one) + ".jpg": one for one in jpegs}


def test_a_file_is_replaced_whole(tmp_path):
    write_file(tmp_path / "model.onnx", b"old")
    write_file(tmp_path / "model.onnx", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"new"


def test_the_state_folder_is_the_flags_then_systemds_then_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert find_state(None).root == tmp_path / ".local/state/edge-watch"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edge-watch")
    assert str(find_state(None).root) == "/var/lib/edge-watch"
    assert find_state(tmp_path / "mine").root == tmp_path / "mine"


def test_a_review_is_never_edited_by_a_late_frame(known):
    from .conftest import draw, save

    save(known.inbox / "1.jpg", draw("X", shot=1), "2026-05-01 06:30:00")
    known.watch()
    (before,) = known.rows("event")
    connection = apsw.Connection(str(known.state / "edge.db"))
    connection.execute(
        "INSERT INTO review (review_id, observation_id, verdict, reviewed_at) "
        "VALUES ('r', ?, 'match', '2026')",
        (before["observation_id"],),
    )
    connection.close()
    save(known.inbox / "2.jpg", draw("X", shot=2), "2026-05-01 06:30:05")
    known.watch()
    first, late = known.rows("event")
    assert first == before | {"end": "2026-05-01T06:30:05"}
    assert late["event_id"] == before["event_id"]
    assert (late["decision"], late["num_frames"]) == ("review", "1")


def test_a_copy_where_nothing_may_be_written_can_be_read(store, tmp_path, monkeypatch):
    store.execute("INSERT INTO meta (key, value) VALUES ('greeting', 'hello')")
    store.close()
    copy = tmp_path / "50% of it?#"  # a name that is not its own URI
    copy.mkdir()
    (tmp_path / "edge.db").rename(copy / "edge.db")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write everywhere
    reader = open_reader(copy / "edge.db")
    assert reader.execute("SELECT value FROM meta WHERE key = 'greeting'") == [("hello",)]
    assert [one.name for one in copy.iterdir()] == ["edge.db"]  # nor was anything written
    reader.close()


def test_what_a_writer_has_not_yet_put_in_place_is_read_too(store, tmp_path, monkeypatch):
    store.execute("INSERT INTO meta (key, value) VALUES ('greeting', 'hello')")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    reader = open_reader(tmp_path / "edge.db")
    assert reader.execute("SELECT value FROM meta WHERE key = 'greeting'") == [("hello",)]
    reader.close()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (apsw.ReadOnlyError, "as the user the state folder belongs to"),
        (apsw.FullError, "free some space"),
        (apsw.CorruptError, "edge-admin restore"),
    ],
)
def test_a_database_that_fails_says_what_helps(tmp_path, error, advice):
    assert advice in str(as_state_error(tmp_path / "edge.db", error("it failed")))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "let this user write"),
        (errno.EROFS, "mount it writable"),
        (errno.EIO, "check the disk"),
    ],
)
def test_a_file_that_cannot_be_written_says_what_helps(tmp_path, monkeypatch, number, advice):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StateError, match=advice):
        write_file(tmp_path / "file", b"data")
