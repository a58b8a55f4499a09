"""Copies of the database, and the way back when it is damaged."""

from __future__ import annotations

import random
import shutil
import threading

import pytest

from edge.errors import InputError, StateError
from edge.record import backup, restore
from edge.record.backup import DailyBackup, make_backup, make_numbered_backup
from edge.record.restore import open_checked
from edge.record.state import StateFolder, locked
from edge.record.store import PAGE_BYTES, open_reader, open_store
from edge.record.store_copy import check, check_thoroughly
from edge.record.store_people import path_of

from .filled import claim, enroll, fill, record, review


@pytest.fixture
def folder(tmp_path):
    state = StateFolder(root=tmp_path / "state")
    state.crops.mkdir(parents=True)
    return state


@pytest.fixture
def filled(folder):
    """100 pictures, 24 reviewed, some of known animals; 60 and 12 of them in a backup."""
    store = open_store(folder.database)
    fill(store, 60)
    make_numbered_backup(folder)
    claim(store, *range(60, 100))
    record(store, *range(60, 100))
    review(store, *range(60, 72))
    enroll(store, "Bela", 80)
    store.close()
    return folder


def _counts(state):
    reader = open_reader(state.database)
    try:
        return {
            table: reader.execute(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("media", "detection", "observation", "event", "review", "exemplar")
        }
    finally:
        reader.close()


def _overwrite(state, offset, data):
    with state.database.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_backup_is_whole_while_another_program_writes(folder, tmp_path):
    store = open_store(folder.database)
    fill(store, 20)
    stop = threading.Event()

    def write():
        number = 20
        while not stop.is_set():
            claim(store, number)
            record(store, number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            make_backup(folder.database, tmp_path / f"{number}.db")
    finally:
        stop.set()
        writer.join()
        store.close()
    copy = open_reader(tmp_path / "2.db")
    assert check_thoroughly(copy) == []
    assert copy.execute("SELECT count(*) FROM media WHERE state = 'done'")[0][0] >= 20
    copy.close()
    assert not list(tmp_path.glob("*.tmp*"))


def test_the_last_three_numbered_backups_are_kept(filled):
    for _ in range(4):
        newest = make_numbered_backup(filled)
    assert [one.name for one in backup.backups(filled)] == [
        "edge-000003.db", "edge-000004.db", "edge-000005.db",
    ]  # fmt: skip
    assert backup.newest_good(filled) == newest
    newest.write_bytes(b"")
    assert backup.newest_good(filled).name == "edge-000004.db"


def test_no_backup_is_begun_that_would_fill_the_disk(filled, monkeypatch):
    from edge.record import disk

    little = disk.Space(free_bytes=1000, free_files=None, is_read_only=False)
    monkeypatch.setattr(disk, "space", lambda _: little)
    with pytest.raises(StateError, match="no backup was made") as told:
        make_numbered_backup(filled)
    assert told.value.kind == "full"
    assert len(backup.backups(filled)) == 1


def test_a_backup_is_made_once_a_day(filled):
    for one in backup.backups(filled):
        one.unlink()
    daily = DailyBackup(filled)
    assert daily.tend() == []
    daily._thread.join()
    assert len(backup.backups(filled)) == 1
    daily._next_try = 0.0
    daily.tend()
    daily._thread.join()
    assert len(backup.backups(filled)) == 1


def test_a_whole_database_is_opened_as_it_is(filled):
    before = _counts(filled)
    store, told = open_checked(filled)
    store.close()
    assert told is None
    assert _counts(filled) == before


def test_a_database_that_cannot_be_read_at_all_comes_back_from_the_backup(filled):
    size = filled.database.stat().st_size
    _overwrite(filled, 0, b"x" * size)
    store, told = open_checked(filled)
    assert store.execute("SELECT count(*) FROM media") == [(72,)]  # the last 12 were reviewed
    assert store.execute("SELECT count(*) FROM review") == [(24,)]
    assert store.execute("SELECT count(*) FROM exemplar") == [(7,)]
    assert check_thoroughly(store) == []
    store.close()
    assert "restored from the backup" in told
    assert "what was recorded after it is lost, but for what people said" in told
    aside = filled.root / "edge.db.damaged.1"
    assert str(aside) in told
    assert aside.stat().st_size == size


def test_what_can_be_read_of_a_damaged_database_beats_the_backup(filled):
    before = _counts(filled)
    reader = open_reader(filled.database)
    (root,) = reader.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'detection_by_event'")
    reader.close()
    _overwrite(
        filled, (root[0] - 1) * PAGE_BYTES, b"\0" * 512
    )  # an index: all rows are there still
    store, told = open_checked(filled)
    store.close()
    assert "damaged" in told
    assert _counts(filled) == before


def test_rows_deleted_since_the_backup_do_not_come_back(filled):
    store = open_store(filled.database)
    store.execute("DELETE FROM exemplar WHERE display LIKE '%00010.jpg'")
    store.close()
    reader = open_reader(filled.database)
    (root,) = reader.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event_by_time'")
    reader.close()
    _overwrite(filled, (root[0] - 1) * PAGE_BYTES, b"\0" * 512)
    open_checked(filled)[0].close()
    assert _counts(filled)["exemplar"] == 6


def test_append_only_tables_are_so_again_after_a_restore(filled):
    _overwrite(filled, 0, b"x" * 4096)
    store, _ = open_checked(filled)
    with pytest.raises(StateError, match="append-only"):
        store.execute("DELETE FROM review")
    store.close()


def test_a_device_never_begins_anew_by_itself(filled):
    filled.database.unlink()
    store, told = open_checked(filled)
    store.close()
    assert "it is gone" in told
    assert _counts(filled)["media"] == 72
    shutil.rmtree(filled.backups)
    filled.database.write_bytes(b"no database" * 1000)
    with pytest.raises(StateError, match="--without-backup"):
        open_checked(filled)
    assert filled.database.read_bytes() == b"no database" * 1000


def test_a_first_start_needs_no_backup(folder):
    store, told = open_checked(folder)
    store.close()
    assert told is None


def test_a_restore_that_was_cut_off_is_finished(filled, monkeypatch):
    _overwrite(filled, 0, b"x" * 4096)
    with monkeypatch.context() as patch:
        patch.setattr(restore, "_finish_swap", lambda _: None)
        restore.restore_newest(filled)
    assert filled.restored.is_file()
    store, told = open_checked(filled)
    assert told is None
    assert store.execute("SELECT count(*) FROM media") == [(72,)]
    store.close()
    assert not filled.restored.exists()


def _damage_at(folder, tmp_path, num_offsets):
    """Restores after garbage in one sector; the numbers of reviews before and after."""
    rng = random.Random(20)
    size = folder.database.stat().st_size
    for number in range(num_offsets):
        state = StateFolder(root=tmp_path / f"{number}")
        shutil.copytree(folder.root, state.root)
        _overwrite(state, rng.randrange(size) // 512 * 512, rng.randbytes(512))
        with locked(state):
            store, told = open_checked(state)
        assert check_thoroughly(store) == []
        for table in ("media", "media_path", "observation", "detection", "review", "exemplar"):
            store.execute(f"SELECT * FROM {table}")
        store.close()
        after = _counts(state)
        if told is None:
            assert after == _counts(folder)
        assert after["review"] == 24
        assert after["exemplar"] == 7
        assert after["media"] >= 72
        assert after["media"] == after["observation"] == after["detection"] == after["event"]
        shutil.rmtree(state.root)


def test_damage_is_found_or_harmless_and_nothing_reviewed_is_lost(filled, tmp_path):
    _damage_at(filled, tmp_path, 12)


@pytest.mark.fault
def test_damage_at_200_offsets_is_found_or_harmless(filled, tmp_path):
    _damage_at(filled, tmp_path, 200)


def test_a_check_ends_when_its_time_is_over(filled):
    reader = open_reader(filled.database)
    assert check(reader, 60) == check(reader, 60)
    assert check(reader, 60).is_complete
    assert not check(reader, 0).is_complete
    reader.close()


def test_backup_and_restore_by_hand(known, tmp_path):
    from .conftest import draw, save

    save(known.inbox / "1.jpg", draw("A", shot=7))
    known.watch()
    stick = tmp_path / "stick"
    stick.mkdir()
    ran = known.run("admin", "backup", "--crops", str(stick), "--state", str(known.state))
    assert ran.code == 0, ran.err
    (copy,) = stick.glob("*.db")
    num_crops = len(list((known.state / "crops").iterdir()))
    assert len(list((stick / "crops").iterdir())) == num_crops > 0
    save(known.inbox / "2.jpg", draw("B", shot=7))
    known.watch()
    next((known.state / "crops").iterdir()).unlink()
    ran = known.run("admin", "restore", str(copy), "--state", str(known.state))
    assert ran.code == 0, ran.err
    assert "copied back 1 crop" in ran.out
    assert (known.state / "edge.db.before.1").is_file()
    assert list(known.by_name()) == ["1.jpg"]
    assert "done: 1 new frame" in known.watch().out
    assert len(known.by_name()) == 2


def test_restore_is_refused_while_edge_watch_runs_and_where_nothing_is_wrong(known):
    (known.inbox / "x").mkdir()
    with locked(StateFolder(root=known.state)):
        ran = known.run("admin", "restore", "--state", str(known.state))
    assert "in use by another" in ran.err
    ran = known.run("admin", "restore", "--state", str(known.state))
    assert ran.code == 1
    assert "is whole" in ran.err


def test_a_damaged_copy_is_not_restored(filled, tmp_path):
    (tmp_path / "bad.db").write_bytes(b"bad" * 5000)
    with pytest.raises(InputError, match="is damaged itself"):
        restore.restore_file(filled, tmp_path / "bad.db")
    assert _counts(filled)["media"] == 100


def test_what_can_be_read_is_kept_without_any_backup(filled):
    shutil.rmtree(filled.backups)
    before = _counts(filled)
    with pytest.raises(StateError, match="there is no whole backup"):
        restore.restore_newest(filled)
    assert "from no backup" in restore.restore_newest(filled, without_backup=True).sentence
    assert _counts(filled) == before
    filled.database.write_bytes(b"nothing" * 5000)
    people = path_of(filled.database)
    kept = people.read_bytes()
    assert (
        "but for what people said" in restore.restore_newest(filled, without_backup=True).sentence
    )
    assert _counts(filled)["review"] == before["review"]
    people.write_bytes(b"nothing" + kept)
    filled.database.write_bytes(b"nothing" * 5000)
    with pytest.raises(StateError, match="nothing can be read"):
        restore.restore_newest(filled, without_backup=True)
