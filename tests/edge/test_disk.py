from __future__ import annotations

import os
import subprocess

import pytest

from edge.errors import StateError
from edge.record import disk
from edge.record.disk import Ballast
from edge.record.state import StateFolder, write_file
from edge.record.store import open_store

from .filled import claim, record


def test_ballast_takes_its_space_and_gives_it_back(tmp_path):
    ballast = Ballast(tmp_path / "ballast", num_mb=2)
    assert not ballast.release()
    assert ballast.fill() and ballast.fill()
    assert os.stat(tmp_path / "ballast").st_blocks * 512 >= 2 * 2**20  # noqa: PTH116
    assert ballast.release()
    assert not list(tmp_path.iterdir())


def test_ballast_never_fills_a_disk_itself(tmp_path, monkeypatch):
    little = disk.Space(free_bytes=3 * 2**20, free_files=None, is_read_only=False)
    monkeypatch.setattr(disk, "space", lambda _: little)
    assert not Ballast(tmp_path / "ballast", num_mb=2).fill()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_works_passes_the_probe(tmp_path):
    disk.probe(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(StateError, match="still takes no files"):
        disk.probe(tmp_path / "gone")


@pytest.fixture
def small(tmp_path):
    """A disk of 32 MB that takes 60 files."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m,nr_inodes=60", "none", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _fill_up(path):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


@pytest.mark.root
def test_fifty_full_disks_lose_nothing(small):
    state = StateFolder(root=small)
    ballast = Ballast(state.ballast, num_mb=1)
    store = open_store(state.database)
    for number in range(50):
        assert ballast.fill()
        claim(store, number)
        _fill_up(small / "other")
        with pytest.raises(StateError) as told:
            for _ in range(2000):
                with store.transaction():
                    store.execute(
                        "INSERT INTO meta VALUES (hex(randomblob(8)), hex(zeroblob(9999)))"
                    )
        assert told.value.kind == "full"
        with pytest.raises(StateError) as told:
            disk.probe(small)
        assert told.value.kind == "full"
        assert ballast.release()
        record(store, number)  # the reserve is enough to finish what was begun
        store.execute("DELETE FROM meta WHERE length(value) > 1000")
        (small / "other").unlink()
        disk.probe(small)
    assert store.execute("PRAGMA integrity_check") == [("ok",)]
    assert store.execute("SELECT state, count(*) FROM media GROUP BY state") == [("done", 50)]
    store.close()


@pytest.mark.root
def test_a_disk_that_takes_no_more_files_is_full(small):
    store = open_store(small / "edge.db")
    store.close()
    number = 0
    while True:
        try:
            (small / f"{number}").touch()
        except OSError:
            break
        number += 1
    with pytest.raises(StateError) as told:
        open_store(small / "edge.db")
    assert told.value.kind == "full"
    with pytest.raises(StateError) as told:
        write_file(small / "crop.jpg", b"crop")
    assert told.value.kind == "full"
    (small / "0").unlink()
    (small / "1").unlink()
    store = open_store(small / "edge.db")
    claim(store, 1)
    store.close()


@pytest.mark.root
def test_a_read_only_disk_is_told_as_such(small):
    open_store(small / "edge.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with pytest.raises(StateError) as told:
        open_store(small / "edge.db")
    assert told.value.kind == "read-only"
    with pytest.raises(StateError) as told:
        disk.probe(small)
    assert told.value.kind == "read-only"
    assert disk.space(small).is_read_only
