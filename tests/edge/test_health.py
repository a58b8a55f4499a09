"""How the service is: states, the file, the command and its exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.config import LogFormat, Settings
from edge.errors import ConfigError, StateError
from edge.operation import health_file
from edge.operation.health import Health, Snapshot, as_record, from_record
from edge.operation.health_file import HealthFile, health_path, is_held, judge, read_report
from edge.operation.logs import Log
from edge.operation.operation import Operation, operated
from edge.record.state import StateFolder, locked


class Clock:
    """Monotonic seconds of the test, beginning with those of the system."""

    def __init__(self) -> None:
        self.seconds = time.monotonic()

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(root=tmp_path / "state")


@contextmanager
def running(folder: StateFolder, clock: Clock, listen: str = "") -> Iterator[Operation]:
    log = Log(LogFormat.text, clock)
    with locked(folder):
        settings = Settings(listen=listen)
        with operated(folder, settings, Path("/in\nbox"), log, {}, clock) as operation:
            operation.ready()
            yield operation


def test_the_worst_reason_is_the_state_and_since_stays(clock):
    health = Health(clock)
    assert health.snapshot().state == "ok"
    health.degrade("disk-full", "12 MB free", "free some space")
    since = health.snapshot().reasons[0].since_monotonic
    clock.seconds += 100
    health.degrade("disk-full", "11 MB free", "free some space")
    health.fail("read-only", "the disk is read-only", "look at dmesg")
    snapshot = health.snapshot()
    assert snapshot.state == "failed"
    assert snapshot.reasons[0].message == "11 MB free"
    assert snapshot.reasons[0].since_monotonic == since
    health.clear("read-only")
    health.clear("read-only")
    assert health.snapshot().state == "degraded"
    health.clear("disk-full")
    assert health.snapshot().state == "ok"


def test_a_word_nobody_knows_is_our_own_fault(clock):
    health = Health(clock)
    with pytest.raises(AssertionError):
        health.degrade("printer", "", "")  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        health.count_quarantined("printer")  # type: ignore[arg-type]


def test_a_snapshot_does_not_change_any_more_and_survives_json(clock):
    health = Health(clock)
    health.count({"animal": 1})
    health.count_camera("cam\udcff", 1)
    health.fail("io", "the disk fails", "replace it")
    before = health.snapshot()
    health.count({"animal": 1})
    assert before.frames["animal"] == 1
    again = from_record(json.loads(json.dumps(as_record(before))))
    assert isinstance(again, Snapshot)
    assert again.reasons == before.reasons and again.camera_frames == {r"cam\xff": 1}


def test_the_file_is_written_on_a_change_and_else_once_a_minute(folder, clock):
    folder.root.mkdir()
    health = Health(clock)
    file = HealthFile(folder, health, Path("/inbox"), clock)
    written = 0
    for second in range(600):
        clock.seconds += 1
        health.count({"animal": 5})
        health.queue(second, 1)
        if second == 300:
            health.degrade("clock", "the clock is wrong", "set it")
        health_path(folder).unlink(missing_ok=True)
        file.save_if_due()
        written += health_path(folder).exists()
        assert second != 300 or health_path(folder).exists()
    assert 10 <= written <= 12
    assert list(folder.root.glob("*.tmp")) == []


def test_a_file_that_cannot_be_written_is_a_reason_not_a_crash(folder, clock):
    folder.root.mkdir()
    health = Health(clock)
    file = HealthFile(folder, health, Path("/inbox"), clock)
    health_path(folder).mkdir()  # nothing can be renamed onto a folder
    file.save()
    assert [one.kind for one in health.snapshot().reasons] == ["health-file"]
    health_path(folder).rmdir()
    file.save()
    assert health.snapshot().state == "ok"


def test_old_news_is_recognised_where_the_start_has_no_name(folder, clock, monkeypatch):
    """As in a service that may not see /proc/sys."""
    monkeypatch.setattr(health_file, "_boot_id", lambda: None)
    with running(folder, clock):
        assert judge(folder, clock()).is_running
        assert not judge(folder, clock() - 1000).is_running  # the clock began anew since


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"format": 1}', '{"format": 2, "pid": 1}', "\x00" * 500]
)
def test_half_a_file_is_no_news(folder, content):
    folder.root.mkdir()
    health_path(folder).write_text(content)
    assert read_report(folder) is None
    assert judge(folder, 0.0).message == "edge-watch does not run, and left no news here"


def test_restarts_are_counted_until_the_system_starts_anew(folder, clock, monkeypatch):
    def restarts() -> int:
        with running(folder, clock) as operation:
            return operation.health.snapshot().gauges.num_restarts

    assert [restarts(), restarts(), restarts()] == [0, 1, 2]
    monkeypatch.setattr(health_file, "_boot_id", lambda: "another start")
    assert [restarts(), restarts()] == [0, 1]


def test_running_is_who_holds_the_lock(folder, clock):
    assert not is_held(folder)
    with running(folder, clock):
        assert is_held(folder)
        verdict = judge(folder, clock())
        assert (verdict.state, verdict.is_running) == ("ok", True)
        assert verdict.report is not None and verdict.report.inbox == r"/in\x0abox"
    assert not is_held(folder)
    verdict = judge(folder, clock())
    assert (verdict.state, verdict.is_running) == ("failed", False)
    assert "ended in good order" in verdict.message


def test_a_look_takes_the_lock_from_nobody(folder, clock):
    with locked(folder):
        pass
    is_held(folder)
    with locked(folder):  # would raise StateError if the look still held it
        assert is_held(folder)


def test_silence_for_minutes_is_a_failure(folder, clock):
    with running(folder, clock):
        assert judge(folder, clock() + 170).state == "ok"
        verdict = judge(folder, clock() + 600)
        assert (verdict.state, verdict.is_running) == ("failed", True)
        assert "has told nothing for 10 min" in verdict.message


def test_another_command_with_the_lock_is_no_watch(folder, clock):
    with running(folder, clock):
        pass
    with locked(folder):
        verdict = judge(folder, clock())
        assert not verdict.is_running and "another command" in verdict.message


def test_a_killed_watch_ended_without_a_word(folder):
    script = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from edge.config import LogFormat, Settings\n"
        "from edge.operation.logs import Log\n"
        "from edge.operation.operation import operated\n"
        "from edge.record.state import StateFolder, locked\n"
        "folder = StateFolder(root=Path(sys.argv[1]))\n"
        "with locked(folder), operated(folder, Settings(), Path('/inbox'),\n"
        "                              Log(LogFormat.text, time.monotonic)):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder.root)], check=False)
    assert done.returncode == -9
    verdict = judge(folder, time.monotonic())
    assert not verdict.is_running and "ended without a word" in verdict.message


def test_an_error_that_ends_the_watch_is_kept_as_its_reason(folder, clock, run):
    with pytest.raises(StateError), running(folder, clock):
        raise StateError("io", "the disk fails; replace the card")
    ran = run("admin", "health", "--state", str(folder.root))
    assert ran.code == 2
    assert "other since" in ran.out and "the disk fails; replace the card" in ran.out


def test_a_watch_is_served_while_it_runs_and_only_where_it_is_told_to(folder, clock, tmp_path):
    path = tmp_path / "http.sock"
    with running(folder, clock, listen=f"unix:{path}"):
        assert "http" in {one.name for one in threading.enumerate()}
        assert path.is_socket()
    with running(folder, clock):
        assert "http" not in {one.name for one in threading.enumerate()}
    assert not path.exists()


def test_a_wrong_address_to_listen_at_ends_the_start(folder, clock):
    with pytest.raises(ConfigError), running(folder, clock, listen="0.0.0.0:80"):
        raise AssertionError("not reached")


@pytest.mark.parametrize(("how", "code"), [("ok", 0), ("degraded", 1), ("failed", 2)])
def test_the_command_exits_by_the_state(folder, clock, run, how, code):
    with running(folder, clock) as operation:
        operation.health.count({"animal": 1234, "quarantined": 2})
        operation.health.queue(3, 600)
        operation.health.measured(model_name="leo\x1bpards", encoder_id="3fa2")
        if how == "degraded":
            operation.health.degrade("disk-full", "evil\x1b[2J is full", "free some space")
        elif how == "failed":
            operation.health.fail("read-only", "the disk is read-only", "look at dmesg")
        operation.file.save()
        ran = run("admin", "health", "--state", str(folder.root))
        as_json = run("admin", "health", "--json", "--state", str(folder.root))
    assert (ran.code, as_json.code) == (code, code)
    assert ran.out.splitlines()[0] == f"{how}: edge-watch runs (process {os.getpid()})"
    assert "1,234 animal" in ran.out and "3 files waiting, the first for 10 min" in ran.out
    assert "\x1b" not in ran.out and r"model: leo\x1bpards" in ran.out
    record = json.loads(as_json.out)
    assert (record["state"], record["is_running"]) == (how, True)
    assert record["last"]["frames"]["animal"] == 1234
    if how == "degraded":
        assert r"evil\x1b[2J is full" in ran.out and "  -> free some space" in ran.out
        assert record["last"]["reasons"][0]["kind"] == "disk-full"


def test_not_running_is_exit_2_with_what_to_do(folder, run):
    ran = run("admin", "health", "--state", str(folder.root))
    assert ran.code == 2
    assert "edge-watch does not run" in ran.out and "systemctl start edge-watch" in ran.out
    assert json.loads(run("admin", "health", "--json", "--state", str(folder.root)).out) == {
        "state": "failed",
        "is_running": False,
        "message": "edge-watch does not run, and left no news here",
        "advice": "start it: `sudo systemctl start edge-watch`, or `edge-watch INBOX`",
    }


def test_a_folder_that_may_not_be_read_is_exit_2_too(folder, run, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder.root.mkdir()
    (folder.root / "lock").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(os, "open", refuse)
    ran = run("admin", "health", "--state", str(folder.root))
    assert ran.code == 2
    assert "cannot be looked at: Permission denied" in ran.out and "sudo -u edge-watch" in ran.out
