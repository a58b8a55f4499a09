"""edge-watch on the terminal: what it tells of oddities, of long work, and when it is stopped."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from .conftest import age, draw, save


def test_an_empty_inbox_is_told_as_that(known):
    ran = known.watch()
    assert ran.out.splitlines()[-1] == f"no pictures in {known.inbox}"
    save(known.inbox / "1.jpg", draw("A", shot=7))
    for _ in range(2):  # read, then known
        assert "no pictures" not in known.watch().out


def test_other_files_are_counted(known):
    for name in ("notes.txt", "cam/track.gpx", ".hidden.mov", "3.mp4.part"):
        save(known.inbox / name, draw("A"))
    ran = known.watch()
    assert "2 other files were not read: only JPEG and PNG pictures and clips are" in ran.out


def test_what_cannot_be_used_is_told_with_where_to_look(known):
    assert "quarantine list" not in known.watch().out
    (known.inbox / "1.jpg").write_bytes(b"no picture")
    age(known.inbox / "1.jpg")
    last = known.watch().out.splitlines()[-1]
    assert last.endswith("1 quarantined; see `edge-admin quarantine list`")


def test_a_camera_folder_that_cannot_be_read_is_told_until_it_can(known, monkeypatch):
    save(known.inbox / "cam1" / "1.jpg", draw("A", shot=7))
    save(known.inbox / "cam2" / "1.jpg", draw("B", shot=7))
    really_open = os.open

    def refuse(path, *args, **kwargs):  # as for an ordinary user; root may read everything
        if path == "cam1":
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    for _ in range(2):
        told = known.watch().out
        assert f"the folder {known.inbox / 'cam1'} is left out: Permission denied" in told
    assert [row["deployment_id"] for row in known.rows("event")] == ["cam2"]
    assert known.by_name()["cam1"]["reason"] == "unreadable"
    monkeypatch.undo()
    assert "is left out" not in known.watch().out
    assert {row["state"] for row in known.rows("media")} == {"done"}
    assert len(known.rows("event")) == 2


def test_without_a_terminal_a_long_backlog_is_told_in_lines(known, monkeypatch):
    from edge.watch import watch

    monkeypatch.setattr(watch, "_TELL_EVERY", 20)
    for shot in range(70):
        save(known.inbox / f"{shot:02}.jpg", draw("A", shot=shot))
    lines = [one for one in known.watch().out.splitlines() if one.endswith(" of 70 pictures")]
    assert 2 <= len(lines) <= 3


def test_what_is_recorded_is_told_also_when_the_next_batch_meets_a_full_disk(known, monkeypatch):
    from edge.errors import StateError
    from edge.watch import recording

    write_crops = recording.write_crops
    calls = []

    def full(state, jpegs):
        calls.append(1)
        if len(calls) > 1:
            raise StateError("full", "cannot write: No space left on device")
        write_crops(state, jpegs)

    monkeypatch.setattr(recording, "write_crops", full)
    for shot in range(6):  # the first batch holds four
        save(known.inbox / f"{shot}.jpg", draw("A", shot=shot), f"2026-05-01 06:30:0{shot}")
    ran = known.watch()
    assert ran.code == 1
    assert "4 frames  MATCH  A" in ran.out
    assert "No space left" in ran.err


def test_a_disk_that_is_full_at_every_run_costs_no_picture_its_attempts(known, monkeypatch):
    from edge.errors import StateError
    from edge.watch import recording

    def full(*_):
        raise StateError("full", "cannot write: No space left on device")

    monkeypatch.setattr(recording, "write_crops", full)
    save(known.inbox / "1.jpg", draw("A", shot=7))
    for _ in range(4):
        assert known.watch().code == 1
    monkeypatch.undo()
    assert known.watch().code == 0
    assert known.by_name()["1.jpg"]["state"] == "done"


@pytest.mark.parametrize("once", [True, False])
def test_ctrl_c_finishes_the_batch_and_tells_what_was_done(known, monkeypatch, once):
    from edge.watch import watch

    complete, calls = watch.complete, []

    def interrupted(*words):
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return complete(*words)

    monkeypatch.setattr(watch, "complete", interrupted)
    for shot in range(16):  # batches of four, four (begun already), and the rest
        save(known.inbox / f"{shot}.jpg", draw("A", shot=shot), f"2026-05-01 06:30:{shot:02}")
    before = signal.getsignal(signal.SIGINT)
    words = ("watch", str(known.inbox), "--state", str(known.state), "--model", str(known.model))
    ran = known.run(*words, *(["--once"] if once else []))
    assert ran.code == 130
    assert "8 frames  MATCH  A" in ran.out
    assert "done: 8 new frames, 1 event, 1 match" in ran.out
    assert "nothing is lost" in ran.err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_does_not_wait_for_the_batch(known, monkeypatch):
    from edge.watch import watch

    def stuck(*_):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the batch went on")

    monkeypatch.setattr(watch, "complete", stuck)
    save(known.inbox / "1.jpg", draw("A", shot=1))
    ran = known.watch()
    assert ran.code == 130
    assert "nothing is lost" in ran.err


def test_scarce_memory_is_told_and_files_are_read_one_by_one(known, monkeypatch):
    from edge.operation import machine
    from edge.watch import watch

    sizes = []
    begin = watch.begin

    def noted(pipeline, files, in_hand):
        sizes.append(len(files))
        return begin(pipeline, files, in_hand)

    scarce = machine.Memory(total_bytes=2**30, available_bytes=50 * 2**20, swap_bytes=0)
    monkeypatch.setattr(machine, "memory", lambda: scarce)
    monkeypatch.setattr(watch, "begin", noted)
    for shot in range(12):
        save(known.inbox / f"{shot}.jpg", draw("A", shot=shot), f"2026-05-01 06:30:{shot:02}")
    ran = known.watch()
    assert sizes == [4, 4, 1, 1, 1, 1]  # two are begun before the first is looked back on
    assert "only 50 MB of memory are left: files are read one at a time" in ran.err
