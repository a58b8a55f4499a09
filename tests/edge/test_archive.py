from __future__ import annotations

import errno
import hashlib
import os
from datetime import datetime
from pathlib import Path

import pytest

from edge.config import After
from edge.errors import StateError
from edge.intake.inbox import FoundFile
from edge.record.archive import dispose
from edge.record.state import StateFolder
from edge.record.store_archive import ArchiveKey

DATA = b"a picture"
KEY = ArchiveKey(sha256=hashlib.sha256(DATA).hexdigest(), captured_at=datetime(2026, 5, 1))
TARGET = f"archive/2026/05/{KEY.sha256}.jpg"


@pytest.fixture
def state(tmp_path):
    return StateFolder(root=tmp_path / "state")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "1.JPG"
    path.write_bytes(DATA)
    info = path.stat()
    return FoundFile(
        path=str(path), relative="1.JPG", num_bytes=info.st_size, mtime_ns=info.st_mtime_ns,
        problem=None,
    )  # fmt: skip


def _another_disk(monkeypatch):
    rename = Path.rename

    def refuse(self, target):
        if "/archive/" in str(target) and "/archive/" not in str(self):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)


def test_a_file_is_synced_before_it_is_moved(state, file, monkeypatch):
    inode = Path(file.path).stat().st_ino
    synced = []
    sync = os.fsync

    def noted(descriptor):
        synced.append((os.fstat(descriptor).st_ino, Path(file.path).exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert dispose(state, file, KEY, After.move) == TARGET
    assert (inode, True) in synced


def test_an_archived_file_of_the_same_bytes_is_not_written_twice(state, file):
    (state.root / TARGET).parent.mkdir(parents=True)
    (state.root / TARGET).write_bytes(DATA)
    inode = (state.root / TARGET).stat().st_ino
    assert dispose(state, file, KEY, After.move) == TARGET
    assert not Path(file.path).exists()
    assert (state.root / TARGET).stat().st_ino == inode


@pytest.mark.parametrize("rotten", [b"", b"a pictura", b"half"])
def test_a_damaged_file_in_the_archive_gives_way_to_the_good_one(state, file, rotten):
    (state.root / TARGET).parent.mkdir(parents=True)
    (state.root / TARGET).write_bytes(rotten)
    assert dispose(state, file, KEY, After.move) == TARGET
    assert (state.root / TARGET).read_bytes() == DATA


def test_a_file_on_another_disk_is_copied_before_it_goes(state, file, monkeypatch):
    _another_disk(monkeypatch)
    assert dispose(state, file, KEY, After.move) == TARGET
    assert (state.root / TARGET).read_bytes() == DATA
    assert not Path(file.path).exists()


def test_a_full_archive_leaves_the_file_and_no_half_of_it(state, file, monkeypatch):
    _another_disk(monkeypatch)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (state.root / TARGET).parent.mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError) as told:
        dispose(state, file, KEY, After.move)
    assert told.value.kind == "full"
    assert Path(file.path).read_bytes() == DATA
    assert not [one for one in state.archive.rglob("*") if one.is_file()]


@pytest.mark.parametrize("after", [After.move, After.delete])
def test_a_file_that_vanishes_meanwhile_is_nobodys(state, file, monkeypatch, after):
    lstat = Path.lstat

    def vanish(self):
        info = lstat(self)
        self.unlink()
        return info

    monkeypatch.setattr(Path, "lstat", vanish)
    assert dispose(state, file, KEY, after) is None
