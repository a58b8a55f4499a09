"""STATE/health.json: the snapshot for `edge-admin health`, and what it says of a service.

Written without fsync, when the state changes and else once a minute (it would wear a card out);
so a reader must tell fresh news from old, and a crash from an end in good order.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge.operation.clock import read_clock
from edge.operation.health import Health, Snapshot, State, as_record, from_record
from edge.record.state import StateFolder
from edge.text import printable

_FORMAT = 1
_EVERY_SECONDS = 60.0
_AT_MOST_EVERY_SECONDS = 2.0  # also where the state changes to and fro
_STALE_SECONDS = 3 * _EVERY_SECONDS


@dataclass(frozen=True, kw_only=True)
class Report:
    """The file as it was read."""

    pid: int
    boot_id: str | None
    monotonic: float  # seconds, when it was written
    written_at: str  # UTC, as the system's clock had it
    inbox: str  # printable
    has_ended: bool  # in good order
    snapshot: Snapshot


@dataclass(frozen=True, kw_only=True)
class Verdict:
    state: State
    is_running: bool
    message: str  # a sentence
    advice: str  # empty where nothing is to be done
    report: Report | None


class HealthFile:
    """The writing side; belongs to the process that holds the state's lock."""

    def __init__(
        self, folder: StateFolder, health: Health, inbox: Path, clock: Callable[[], float]
    ) -> None:
        """Counts this start as a restart where the system has not been started since the last."""
        self._path = health_path(folder)
        self._health = health
        self._inbox = printable(str(inbox))
        self._clock = clock
        self._boot_id = _boot_id()
        self._written: float | None = None
        self._told: object = None
        before = read_report(folder)
        if before is not None and not _is_of_another_start(before, clock()):
            health.measured(num_restarts=before.snapshot.gauges.num_restarts + 1)

    def save_if_due(self) -> None:
        if self._written is not None:
            age = self._clock() - self._written
            has_changed = _essence(self._health.snapshot()) != self._told
            if age < (_AT_MOST_EVERY_SECONDS if has_changed else _EVERY_SECONDS):
                return
        self.save()

    def save(self, has_ended: bool = False) -> None:
        """A file that cannot be written is a reason of its own, not a fault of the caller."""
        self._written = self._clock()
        snapshot = self._health.snapshot()
        content = {
            "format": _FORMAT,
            "pid": os.getpid(),
            "boot_id": self._boot_id,
            "monotonic": self._written,
            "written_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "inbox": self._inbox,
            "has_ended": has_ended,
            "snapshot": as_record(snapshot),
        }
        temporary = self._path.with_name(self._path.name + ".tmp")
        try:
            temporary.write_text(json.dumps(content), encoding="ascii")
            temporary.replace(self._path)
        except OSError as error:
            self._health.degrade(
                "health-file",
                f"{printable(str(self._path))} cannot be written: {error.strerror}",
                "free some space, or check the disk and the rights of the state folder",
            )
        else:
            self._health.clear("health-file")
        self._told = _essence(self._health.snapshot())


def _essence(snapshot: Snapshot) -> object:
    """What is told at once when it changes."""
    reasons = frozenset((one.kind, one.severity) for one in snapshot.reasons)
    return reasons, snapshot.is_ready, snapshot.is_stopping


def health_path(folder: StateFolder) -> Path:
    return folder.root / "health.json"


def read_report(folder: StateFolder) -> Report | None:
    """The last news; None where there is none, or a power cut left half of it.

    Raises PermissionError where this user may not read it.
    """
    try:
        content = json.loads(health_path(folder).read_text(encoding="ascii"))
        if content.pop("format") != _FORMAT:
            return None
        return Report(**{**content, "snapshot": from_record(content["snapshot"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def is_held(folder: StateFolder) -> bool:
    """Whether a program holds the state's lock (edge/record/state.py) at this moment."""
    try:
        descriptor = os.open(folder.root / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    finally:
        os.close(descriptor)
    return False


def judge(folder: StateFolder, monotonic: float) -> Verdict:
    """How the service over a state folder is, now; raises OSError where that cannot be seen."""
    report, held = read_report(folder), is_held(folder)
    if report is None or not held or report.has_ended or not _is_alive(report, monotonic):
        return _not_running(report, held)
    age = monotonic - report.monotonic
    if age > _STALE_SECONDS:
        return Verdict(
            state="failed",
            is_running=True,
            message=f"edge-watch (process {report.pid}) has told nothing for {age / 60:.0f} min: "
            "it is stuck, or cannot write to its state folder",
            advice="see `journalctl -u edge-watch -n 50`, then `sudo systemctl restart edge-watch`",
            report=report,
        )
    return Verdict(
        state=report.snapshot.state,
        is_running=True,
        message=f"edge-watch runs (process {report.pid})",
        advice="",
        report=report,
    )


def _boot_id() -> str | None:
    return read_clock().boot_id


def _is_of_another_start(report: Report, monotonic: float) -> bool:
    """Whether the system was started since the report was written."""
    here = _boot_id()
    if report.boot_id is not None and here is not None:
        return report.boot_id != here
    return report.monotonic > monotonic  # a later time than now


def _is_alive(report: Report, monotonic: float) -> bool:
    if _is_of_another_start(report, monotonic):
        return False
    try:
        os.kill(report.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user
    return True


def _not_running(report: Report | None, held: bool) -> Verdict:
    advice = "start it: `sudo systemctl start edge-watch`, or `edge-watch INBOX`"
    if held:
        message = (
            "no edge-watch is at work here: it is just starting, or another command (edge-gallery, "
            "edge-admin) has the state folder in hand"
        )
        advice = "look again in a minute"
    elif report is None:
        message = "edge-watch does not run, and left no news here"
    elif report.has_ended:
        message = f"edge-watch does not run; it ended in good order at {report.written_at}"
    elif report.snapshot.state == "failed":
        message = f"edge-watch does not run; it ended at {report.written_at}"
    else:
        message = (
            "edge-watch does not run; it ended without a word some time after "
            f"{report.written_at}: killed, crashed, or the power failed"
        )
    return Verdict(state="failed", is_running=False, message=message, advice=advice, report=report)
