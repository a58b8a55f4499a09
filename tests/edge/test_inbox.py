"""What a scan hands out, in which order, and what it never touches."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import cv2
import pytest

from edge.errors import InputError, MediaError
from edge.intake.inbox import Inbox, Scan

from .conftest import age, draw

JPEG = cv2.imencode(".jpg", draw("A"))[1].tobytes()


def put(path: Path, data: bytes = JPEG, seconds_ago: float = 3600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    age(path, seconds_ago)
    return path


def names(scan: Scan) -> list[str]:
    return [file.relative for file in scan.ready]


def finish_all(inbox: Inbox) -> list[str]:
    scan = inbox.scan()
    for file in scan.ready:
        inbox.finish(file)
    return names(scan)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    (tmp_path / "in").mkdir()
    return Inbox(tmp_path / "in", 5.0, 3600.0)


def test_pictures_and_clips_are_handed_out_and_others_counted(inbox):
    for name in ("1.jpg", "cam/2.PNG", "cam/3.mp4", "cam/4.AVI", "notes.txt", "noname"):
        put(inbox.root / name)
    scan = inbox.scan()
    assert sorted(names(scan)) == ["1.jpg", "cam/2.PNG", "cam/3.mp4", "cam/4.AVI"]
    assert [file.is_clip for file in sorted(scan.ready, key=lambda one: one.relative)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert scan.others.num_files == 2


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.jpg", ".in.1.jpg.", ".pureftpd-upload.5f.jpg", ".1.jpg.Xa81bc", "1.jpg.tmp",
        "1.jpg.part", "1.jpg.FILEPART", "1.jpg.crdownload", ".trash/1.jpg", "@eaDir/1.jpg",
        "lost+found/1.jpg",
    ],
)  # fmt: skip
def test_what_is_not_meant_for_us_is_passed_over(inbox, name):
    put(inbox.root / name)
    scan = inbox.scan()
    assert (scan.ready, scan.num_unsettled, scan.others.num_files) == ((), 0, 0)


def test_a_file_is_handed_out_until_it_is_finished_and_again_when_it_changes(inbox):
    picture = put(inbox.root / "1.jpg")
    for _ in range(2):
        assert names(inbox.scan()) == ["1.jpg"]
    assert finish_all(inbox) == ["1.jpg"]
    assert names(inbox.scan()) == []
    put(picture, JPEG + b"\x00")
    assert names(inbox.scan()) == ["1.jpg"]


def test_a_file_of_a_camera_whose_clock_is_ahead_settles_by_our_own_watch(tmp_path, monkeypatch):
    put(tmp_path / "1.jpg", seconds_ago=-86400 * 3650)
    inbox = Inbox(tmp_path, 5.0, 3600.0)
    start = time.monotonic()
    assert inbox.scan().num_unsettled == 1
    monkeypatch.setattr(time, "monotonic", lambda: start + 6)
    assert names(inbox.scan()) == ["1.jpg"]


def test_a_camera_with_many_files_does_not_hold_up_the_others(inbox):
    for number in range(60):
        put(inbox.root / "busy" / f"{number:02}.jpg")
    for camera in ("calm", "zoo"):
        put(inbox.root / camera / "1.jpg")
    order = names(inbox.scan())
    assert len(order) == 62
    assert order.index("zoo/1.jpg") < 35
    assert [one for one in order if one.startswith("busy")] == sorted(order)[:60]


def test_what_arrived_first_comes_first_whatever_the_times_and_names_say(inbox):
    put(inbox.root / "cam" / "IMG_9999.jpg", seconds_ago=3600)
    inbox.scan()
    put(inbox.root / "cam" / "IMG_0001.jpg", seconds_ago=86400 * 365 * 30)
    assert names(inbox.scan()) == ["cam/IMG_9999.jpg", "cam/IMG_0001.jpg"]


def test_an_aborted_upload_waits_and_its_second_try_is_taken_once(inbox):
    picture = put(inbox.root / "1.jpg", JPEG[:700], seconds_ago=60)
    (file,) = inbox.scan().ready
    assert inbox.read(file) is None
    scan = inbox.scan()
    assert (scan.ready, scan.num_unsettled) == ((), 1)
    assert not inbox.is_arriving  # no need to look again at once
    put(picture, seconds_ago=60)
    (file,) = inbox.scan().ready
    assert inbox.read(file) == JPEG
    inbox.finish(file)
    assert inbox.scan().ready == ()


@pytest.mark.parametrize(("data", "reason"), [(JPEG[:700], "truncated"), (b"", "empty")])
def test_a_file_that_stays_incomplete_is_given_up_in_the_end(inbox, monkeypatch, data, reason):
    put(inbox.root / "1.jpg", data, seconds_ago=-60)
    start = time.monotonic()
    handed_out = 0
    for seconds in (0, 6, 7, 20, 40, 600, 3000, 3590):
        monkeypatch.setattr(time, "monotonic", lambda now=start + seconds: now)
        for file in inbox.scan().ready:
            handed_out += 1
            assert inbox.read(file) is None
    assert 3 <= handed_out <= 6  # looked into ever more rarely
    monkeypatch.setattr(time, "monotonic", lambda: start + 3660)
    (file,) = inbox.scan().ready
    with pytest.raises(MediaError, match=reason):
        inbox.read(file)


def test_a_file_with_a_writer_is_left_alone(inbox):
    with put(inbox.root / "1.jpg").open("ab"):
        (file,) = inbox.scan().ready
        assert inbox.read(file) is None
        assert inbox.is_arriving
    assert inbox.read(file) == JPEG


@pytest.mark.data
def test_real_files_are_read_whole_and_the_cut_one_is_waited_for(inbox, shared):
    for source in (shared / "camera-trap").rglob("*.*"):
        put(inbox.root / source.parent.name / source.name, source.read_bytes(), seconds_ago=60)
    data = {file.relative: inbox.read(file) for file in inbox.scan().ready}
    assert len(data) >= 25
    assert [name for name, read in data.items() if read is None] == [
        "speciesnet/african_elephants_truncated_file.jpg"
    ]
    assert all(read == (inbox.root / name).read_bytes() for name, read in data.items() if read)


def test_a_folder_swapped_for_a_link_does_not_lead_outside(inbox, tmp_path):
    put(inbox.root / "cam" / "1.jpg")
    (file,) = inbox.scan().ready
    shutil.copytree(inbox.root / "cam", tmp_path / "outside")  # same name, size and time
    shutil.rmtree(inbox.root / "cam")
    (inbox.root / "cam").symlink_to(tmp_path / "outside")
    with pytest.raises(MediaError, match="not-a-file"):
        inbox.read(file)


def test_nothing_but_files_is_opened(inbox, tmp_path):
    put(tmp_path / "secret.jpg")
    (inbox.root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (inbox.root / "loop").symlink_to(inbox.root)
    (inbox.root / "nowhere.mp4").symlink_to("nowhere")
    (inbox.root / "folder.png").mkdir()
    os.mkfifo(inbox.root / "pipe.avi")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(inbox.root / "socket.jpg"))
    scan = inbox.scan()
    assert sorted(names(scan)) == [
        "folder.png", "link.jpg", "loop", "nowhere.mp4", "pipe.avi", "socket.jpg",
    ]  # fmt: skip
    assert all(file.problem is not None for file in scan.ready)
    assert len(scan.unusable) == 6
    for file in scan.ready:
        if file.relative != "loop":
            with pytest.raises(MediaError, match="not-a-file"):
                inbox.read(file)


def test_hard_links_are_files_like_others(inbox):
    first = put(inbox.root / "1.jpg")
    (inbox.root / "2.jpg").hardlink_to(first)
    assert [inbox.read(file) for file in inbox.scan().ready] == [JPEG, JPEG]


def test_without_free_descriptors_nothing_is_called_unreadable(inbox, monkeypatch):
    import errno

    put(inbox.root / "cam" / "1.jpg")
    (file,) = inbox.scan().ready
    really_open = os.open

    def refuse(path, *args, **kwargs):
        if path in {"cam", "1.jpg"}:
            raise OSError(errno.EMFILE, "Too many open files")
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert inbox.read(file) is None
    scan = inbox.scan()
    assert (scan.ready, scan.unusable) == ((), frozenset())
    assert "Too many open files" in scan.missing


def test_an_inbox_that_goes_is_told_and_comes_back_without_doing_anything_twice(inbox, tmp_path):
    put(inbox.root / "1.jpg")
    finish_all(inbox)
    inbox.root.rename(tmp_path / "away")
    scan = inbox.scan()
    assert "does not exist" in scan.missing
    assert not scan.is_empty
    (tmp_path / "away").rename(inbox.root)
    scan = inbox.scan()
    assert (scan.ready, scan.missing) == ((), None)


def test_an_inbox_whose_disk_was_taken_away_is_missing_and_not_empty(inbox, monkeypatch):
    from edge.intake import inbox as module
    from edge.intake.mounts import Mount

    mounted = [Mount(point=str(inbox.root), fs_type="vfat", is_read_only=False)]
    monkeypatch.setattr(module, "mount_of", lambda _: mounted[-1])
    picture = put(inbox.root / "cam" / "1.jpg")
    finish_all(inbox)
    mounted.append(Mount(point="/", fs_type="ext4", is_read_only=False))
    data = picture.read_bytes()
    shutil.rmtree(inbox.root / "cam")  # what lies below the mount point is an empty folder
    scan = inbox.scan()
    assert f"its disk is not mounted on {inbox.root}" in scan.missing
    mounted.pop()
    assert inbox.scan().missing is None  # an emptied card in its place
    put(picture, data)


def test_an_inbox_on_a_mount_of_the_fstab_that_is_not_there_is_missing_at_once(tmp_path):
    from edge.intake.mounts import intended_mount, mount_of

    fstab = tmp_path / "fstab"
    fstab.write_text(
        "# comment\nUUID=1 / ext4 defaults 0 1\nLABEL=CAM /media/my\\040card vfat nofail 0 0\n"
    )
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 21 0:44 / /mnt/share rw - nfs4 server:/x rw\n"
    )
    assert intended_mount("/media/my card/inbox", fstab) == "/media/my card"
    assert mount_of("/media/my card/inbox", mounts).point == "/"
    assert mount_of("/mnt/share/cam", mounts).is_remote
    assert not mount_of("/mnt/shared", mounts).is_remote


def test_a_disk_that_does_not_answer_is_told_and_taken_up_again(inbox, monkeypatch):
    import threading

    from edge.intake import inbox as module
    from edge.intake.deadline import Deadline
    from edge.intake.mounts import Mount

    put(inbox.root / "1.jpg")
    monkeypatch.setattr(
        module, "mount_of", lambda _: Mount(point="/", fs_type="nfs4", is_read_only=False)
    )
    inbox._deadline = Deadline(0.05)
    answers = threading.Event()
    really_walk = module.walk

    def hang(root, others):
        answers.wait(5)
        return really_walk(root, others)

    monkeypatch.setattr(module, "walk", hang)
    for _ in range(2):
        assert "does not answer" in inbox.scan().missing
    stuck = inbox._deadline._stuck
    answers.set()
    stuck.join()
    assert names(inbox.scan()) == ["1.jpg"]


def test_an_inbox_that_is_not_there_at_the_start_is_an_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Inbox(tmp_path / "no", 1, 1)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is not a folder"):
        Inbox(tmp_path / "file", 1, 1)


def test_deep_trees_are_read_eight_deep(inbox):
    put(inbox.root.joinpath(*"abcdefgh") / "1.jpg")
    put(inbox.root.joinpath(*"abcdefghi") / "2.jpg")
    scan = inbox.scan()
    assert [(f.relative, f.problem is None) for f in scan.ready] == [
        ("a/b/c/d/e/f/g/h/1.jpg", True),
        ("a/b/c/d/e/f/g/h/i", False),
    ]


def test_a_clip_may_be_larger_than_a_picture(inbox):
    clip = b"RIFF" + (65 * 2**20 - 8).to_bytes(4, "little") + b"AVI " + bytes(65 * 2**20 - 12)
    put(inbox.root / "a.avi", clip)
    put(inbox.root / "a.jpg", clip)
    large, picture = sorted(inbox.scan().ready, key=lambda file: file.relative)
    assert inbox.read(large) == clip
    with pytest.raises(MediaError, match="more than 64 MB"):
        inbox.read(picture)
