"""The second copy of what people said."""

from __future__ import annotations

import shutil

import apsw
import pytest

from edge.gallery import curate
from edge.record import store_log
from edge.record.backup import make_numbered_backup
from edge.record.restore import open_checked, restore_file
from edge.record.state import StateFolder
from edge.record.store import open_store
from edge.record.store_copy import check_thoroughly
from edge.record.store_people import DEVICE, keep, path_of

from .filled import claim, enroll, fill, record, review


@pytest.fixture
def folder(tmp_path):
    state = StateFolder(root=tmp_path / "state")
    state.crops.mkdir(parents=True)
    return state


def _copied(state, table):
    connection = apsw.Connection(str(path_of(state.database)))
    try:
        return list(connection.execute(f"SELECT * FROM {table}"))
    finally:
        connection.close()


def test_a_review_is_in_the_copy_when_its_transaction_is_over_with_all_it_speaks_of(folder):
    store = open_store(folder.database)
    claim(store, 1, 2)
    record(store, 1, 2)
    assert not path_of(folder.database).exists()
    review(store, 2)
    assert [row[1] for row in _copied(folder, "review")] == ["observation 00002"]
    assert len(_copied(folder, "detection")) == len(_copied(folder, "media_path")) == 1
    store.close()


def test_what_a_person_undoes_is_undone_in_the_copy(folder):
    store = open_store(folder.database)
    enroll(store, "Amba", 1, 2)
    assert len(_copied(folder, "exemplar")) == 2
    with store.transaction(), store_log.editing(store, "tester") as editor:
        curate.undo(editor, editor.entries[-1].entry_id, with_later=False)
    assert _copied(folder, "exemplar") == []
    store.close()


def test_what_the_device_names_by_itself_goes_with_the_next_word_of_a_person(folder):
    store = open_store(folder.database)
    with store.transaction():
        store_log.mint(store, "new-1", DEVICE)
    assert not path_of(folder.database).exists()
    enroll(store, "Amba", 1)
    assert len(_copied(folder, "individual")) == 2
    store.close()


def test_pictures_alone_write_no_copy(folder):
    store = open_store(folder.database)
    fill(store, 10)
    before = path_of(folder.database).stat().st_mtime_ns
    claim(store, 11)
    record(store, 11)
    store.close()
    assert path_of(folder.database).stat().st_mtime_ns == before


def test_a_damaged_copy_is_made_anew(folder):
    store = open_store(folder.database)
    fill(store, 10)
    path_of(folder.database).write_bytes(b"nothing" * 1000)
    keep(store)
    assert len(_copied(folder, "review")) == 2
    store.close()


def test_reviews_that_a_damaged_journal_lost_come_back_at_the_start(folder, tmp_path):
    store = open_store(folder.database)
    fill(store, 10)
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(folder.database, tmp_path / "earlier.db")
    claim(store, 11)
    record(store, 11)
    review(store, 11)
    store.close()
    shutil.copyfile(tmp_path / "earlier.db", folder.database)
    store, told = open_checked(folder)
    assert "lost 1 reviews and changes" in told
    assert store.execute("SELECT count(*) FROM review") == [(3,)]
    assert store.execute("SELECT state FROM media ORDER BY seq DESC LIMIT 1") == [("done",)]
    assert check_thoroughly(store) == []
    with pytest.raises(Exception, match="append-only"):
        store.execute("DELETE FROM review")
    store.close()
    store, told = open_checked(folder)
    assert told is None
    store.close()


def test_going_back_to_a_copy_by_hand_brings_back_nothing_said_since(folder):
    store = open_store(folder.database)
    fill(store, 10)
    backup = make_numbered_backup(folder)
    review(store, 1)
    store.close()
    restore_file(folder, backup)
    store, told = open_checked(folder)
    assert told is None
    assert store.execute("SELECT count(*) FROM review") == [(2,)]
    store.close()
    assert len(list(folder.root.glob("edge.db.before.1.people"))) == 1
