"""Hints end the pause between two scans; where none come the inbox is looked at instead."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import watchfiles

from edge.intake import hints as module
from edge.intake.hints import hints
from edge.intake.mounts import Mount

TICK = 0.1


class Watched:
    """The hints of a folder, and what was told of them."""

    def __init__(self, root: Path, rescan_seconds: float = 60) -> None:
        self.told: list[str] = []
        self.stop = threading.Event()
        self.hints: Iterator[object] = hints(
            root, self.stop, tick_seconds=TICK, rescan_seconds=rescan_seconds, tell=self.told.append
        )

    def until_changed(self, num_ticks: int = 60) -> object:
        """The first hint that is not empty, within so many; nothing where none comes."""
        return next((one for one in itertools.islice(self.hints, num_ticks) if one), ())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in" / "cam").mkdir(parents=True)
    return tmp_path / "in"


def test_what_is_there_before_the_watch_begins_is_hinted_at(root):
    watched = Watched(root)
    assert next(watched.hints)
    assert not next(watched.hints)
    assert watched.told == []


def test_a_new_file_is_a_hint_also_in_a_folder_that_came_later(root):
    watched = Watched(root)
    watched.until_changed()
    (root / "cam" / "1.jpg").write_bytes(b"1")
    assert watched.until_changed()
    (root / "new").mkdir()
    assert watched.until_changed()
    while watched.until_changed(num_ticks=3):
        pass
    (root / "new" / "2.jpg").write_bytes(b"2")
    assert watched.until_changed()


def test_the_watch_does_not_follow_links_out_of_the_inbox(root, tmp_path):
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    watched = Watched(root)
    watched.until_changed()
    (tmp_path / "outside" / "1.jpg").write_bytes(b"1")
    assert not watched.until_changed(num_ticks=8)
    (root / "cam" / "1.jpg").write_bytes(b"1")
    assert watched.until_changed()


@pytest.mark.parametrize(
    "error", [OSError(28, "OS file watch limit reached"), RuntimeError("too many instances")]
)
def test_where_the_system_has_no_watches_left_it_is_said_and_the_folders_are_looked_at(
    root, monkeypatch, error
):
    def refuse(*_args, **_settings):
        raise error
        yield

    monkeypatch.setattr(watchfiles, "watch", refuse)
    monkeypatch.setattr(module, "_LOOK_SECONDS", TICK)
    watched = Watched(root)
    assert watched.until_changed()
    assert not watched.until_changed(num_ticks=3)
    (root / "cam" / "1.jpg").write_bytes(b"1")
    assert watched.until_changed()
    (told,) = watched.told
    assert "is searched every 60 s instead" in told


def test_a_network_disk_is_looked_at(root, monkeypatch):
    monkeypatch.setattr(
        module, "mount_of", lambda _: Mount(point="/", fs_type="fuse.sshfs", is_read_only=False)
    )
    monkeypatch.setattr(module, "_LOOK_SECONDS", TICK)
    monkeypatch.delattr(watchfiles, "watch")
    watched = Watched(root)
    watched.until_changed()
    os.rename(root / "cam", root / "lynx")  # noqa: PTH104
    assert watched.until_changed()
    assert watched.told == [
        "a fuse.sshfs disk does not report new files; the inbox is searched every 60 s instead"
    ]


def test_another_disk_in_the_inboxs_place_is_watched(root, tmp_path):
    watched = Watched(root)
    watched.until_changed()
    root.rename(tmp_path / "away")
    assert not watched.until_changed(num_ticks=2)
    root.mkdir()
    assert watched.until_changed()
    while watched.until_changed(num_ticks=3):
        pass
    (root / "1.jpg").write_bytes(b"1")
    assert watched.until_changed()


def test_a_name_that_is_not_utf8_blinds_the_watch_only_for_a_while(root):
    watched = Watched(root, rescan_seconds=3 * TICK)
    watched.until_changed()
    with open(os.fsencode(root) + b"/cam/\xff\xfe\x1b.jpg", "wb") as file:  # noqa: PTH123
        file.write(b"1")
    assert watched.until_changed()
    for _ in range(5):
        watched.until_changed(num_ticks=4)
    (root / "cam" / "1.jpg").write_bytes(b"1")
    changes = watched.until_changed()
    assert {Path(path).name for _, path in changes} == {"1.jpg"}  # reported, not looked for
    assert len(watched.told) == 1


def test_a_stop_ends_the_hints(root):
    watched = Watched(root)
    next(watched.hints)
    watched.stop.set()
    assert len(list(itertools.islice(watched.hints, 5))) <= 1
