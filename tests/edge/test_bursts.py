"""A burst that batches cut in two is searched whole, and loses nothing where that is cut short."""

import pytest

from edge.errors import StateError
from edge.watch import bursts, recording
from edge.watch.motion_finder import MotionFinder

from .conftest import draw, save


@pytest.fixture
def searched(monkeypatch) -> list[list[str]]:
    """The times of the frames of each search."""
    calls: list[list[str]] = []
    find_all = MotionFinder.find_all

    def spy(self, deployment_id, views, times):
        calls.append([f"{when:%H:%M:%S}" for when in times])
        return find_all(self, deployment_id, views, times)

    monkeypatch.setattr(MotionFinder, "find_all", spy)
    return calls


def fill(inbox, camera: str, frames_of: dict[int, int]) -> None:
    """So many frames at each of these minutes past six; no two are alike."""
    for minute, num_frames in frames_of.items():
        for second in range(num_frames):
            path = inbox / camera / f"{minute:02}-{second:02}.jpg"
            save(
                path,
                draw("A", shot=100 * minute + second),
                f"2026-05-01 06:{minute:02}:{second:02}",
            )


def num_files(device) -> int:
    """In the table; a file has a row for each object in it."""
    return len({row["file_path"] for row in device.rows("media")})


def test_a_burst_that_a_batch_cuts_is_searched_whole(known, searched):
    fill(known.inbox, "cam1", {10: 3, 20: 3, 30: 3})  # batches of four, four and one
    assert known.watch("--detector", "motion").code == 0
    assert [len(call) for call in searched] == [3, 3, 3]
    assert {row["state"] for row in known.rows("media")} == {"done"}
    assert num_files(known) == 9


def test_a_burst_waits_for_one_batch_only(known, searched):
    fill(known.inbox, "cam1", {10: 14})  # batches of four, four and six
    known.watch("--detector", "motion")
    assert [len(call) for call in searched] == [8, 6]


def test_nothing_waits_for_another_camera(known, searched):
    fill(known.inbox, "cam1", {10: 4})
    fill(known.inbox, "cam2", {11: 4})
    known.watch("--detector", "motion")
    assert [len(call) for call in searched] == [4, 4]


def test_large_bursts_are_not_kept_in_memory(known, searched, monkeypatch):
    monkeypatch.setattr(bursts, "_MAX_HELD_BYTES", 10)
    fill(known.inbox, "cam1", {10: 3, 20: 3})
    known.watch("--detector", "motion")
    assert [len(call) for call in searched] == [4, 2]


def test_what_waits_when_the_disk_is_full_gets_its_attempt_back(known, monkeypatch):
    def full(*_):
        raise StateError("full", "cannot write: No space left on device")

    fill(known.inbox, "cam1", {10: 3, 20: 3, 30: 3})
    monkeypatch.setattr(recording, "write_crops", full)
    for _ in range(5):
        assert known.watch("--detector", "motion").code == 1
    monkeypatch.undo()
    assert known.watch("--detector", "motion").code == 0
    assert {row["state"] for row in known.rows("media")} == {"done"}
    assert num_files(known) == 9
