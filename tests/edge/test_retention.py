"""Which pictures leave the archive, and which never do."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from edge.config import Settings
from edge.record import disk, store_archive
from edge.record.retention import retire
from edge.record.state import StateFolder
from edge.record.store import open_store

from .filled import claim, enroll, found, record, review, sha_of

LATER = datetime.now(timezone.utc) + timedelta(days=100)


@pytest.fixture
def folder(tmp_path):
    return StateFolder(root=tmp_path)


@pytest.fixture
def store(folder):
    opened = open_store(folder.database)
    yield opened
    opened.close()


def _archive(store, folder, *numbers, clock_trusted=True):
    claim(store, *numbers, clock_trusted=clock_trusted)
    record(store, *numbers)
    for one in numbers:
        path = folder.archive / "2026" / "05" / f"{sha_of(one)}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
        name = path.relative_to(folder.root).as_posix()
        store_archive.set_disposed(store, found(one), sha_of(one), name)


def _left(folder):
    names = {path.stem for path in folder.archive.rglob("*.jpg")}
    return [one for one in range(300) if sha_of(one) in names]


def _retire(store, folder, settings, clock_trusted=True, now=LATER):
    return retire(store, folder, settings, clock_trusted=clock_trusted, now=now)


def test_old_pictures_go_and_their_records_stay(store, folder):
    _archive(store, folder, 1, 2)
    assert _retire(store, folder, Settings(archive_days=101)) == 0
    assert _retire(store, folder, Settings(archive_days=99)) == 2
    assert _left(folder) == []
    assert store.execute("SELECT DISTINCT disposed_to FROM media_path") == [("deleted",)]
    assert store.execute("SELECT count(*) FROM detection") == [(2,)]
    assert _retire(store, folder, Settings(archive_days=99)) == 0


def test_what_people_looked_at_and_exemplars_sources_never_go(store, folder):
    _archive(store, folder, 1, 2, 3)
    review(store, 1)
    enroll(store, "Amba", 3)
    assert _retire(store, folder, Settings(archive_days=1, archive_min_free_mb=10**9)) == 1
    assert _left(folder) == [1, 3]


def test_nothing_goes_by_age_under_a_doubtful_clock(store, folder):
    _archive(store, folder, 1, clock_trusted=False)
    _archive(store, folder, 2, clock_trusted=None)
    _archive(store, folder, 3)
    assert _retire(store, folder, Settings(archive_days=1), clock_trusted=False) == 0
    assert _retire(store, folder, Settings(archive_days=1)) == 1
    assert _left(folder) == [1, 2]


def test_a_clock_that_went_back_deletes_nothing(store, folder):
    _archive(store, folder, 1)
    past = datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert _retire(store, folder, Settings(archive_days=1), now=past) == 0


def test_the_first_to_arrive_make_room_whatever_the_clock_says(store, folder, monkeypatch):
    _archive(store, folder, 5, 3, *range(10, 60), clock_trusted=False)
    free = iter([10.0, 10.0, 10.0, 1000.0])
    monkeypatch.setattr(disk, "free_mb", lambda _: next(free))
    settings = Settings(archive_min_free_mb=100)
    assert _retire(store, folder, settings, clock_trusted=False) == 40
    assert _left(folder) == list(range(48, 60))  # 5, 3 and 10 to 47 came first


def test_without_a_setting_nothing_ever_goes(store, folder):
    _archive(store, folder, 1)
    assert _retire(store, folder, Settings()) == 0
    assert _left(folder) == [1]


def test_a_call_is_bounded(store, folder):
    _archive(store, folder, *range(250))
    assert _retire(store, folder, Settings(archive_days=1)) == 200
    assert _retire(store, folder, Settings(archive_days=1)) == 50


def test_a_crash_after_the_file_went_is_mended_by_the_next_call(store, folder):
    _archive(store, folder, 1)
    next(folder.archive.rglob("*.jpg")).unlink()
    assert _retire(store, folder, Settings(archive_days=1)) == 1
    assert store.execute("SELECT disposed_to FROM media_path") == [("deleted",)]
