"""The folder where pictures and clips arrive: which are there, whole and not yet dealt with.

A scan is the truth; what the kernel reports in between is only a hint to scan again. Files come
in order of arrival, the cameras taking turns; no order depends on what the clock says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from edge.errors import InputError, MediaError
from edge.intake.deadline import Deadline
from edge.intake.mounts import Mount, intended_mount, mount_of
from edge.intake.reading import IncompleteError, read_whole
from edge.intake.walk import DIRECT_DEPLOYMENT, FoundFile, Others, walk

__all__ = ["DIRECT_DEPLOYMENT", "FoundFile", "Inbox", "Others", "Scan"]

_TURN = 32  # files of a camera before the next has its turn: few bursts are cut by that
_ANSWER_SECONDS = 30.0  # a network disk that is silent for longer counts as gone
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Scan:
    ready: tuple[FoundFile, ...]  # settled, as far as can be seen from outside
    num_unsettled: int  # perhaps still being written, or known to be incomplete
    unusable: frozenset[bytes]  # paths that must not or cannot be opened, finished or not
    oldest_seconds: float  # since the first of `ready` was seen as it is now
    others: Others
    is_empty: bool  # not one picture or clip, finished or not
    missing: (
        str | None
    )  # why the inbox cannot be searched now, as a sentence; then nothing is ready


class _Waiting(NamedTuple):
    """What is remembered of a file that is not finished; small, there may be 100,000."""

    stamp: int
    since: float  # monotonic seconds: as it is now
    arrival: int  # the scan that found it first
    look_at: float  # monotonic seconds; known to be incomplete and not looked into before


@dataclass(kw_only=True)
class _Sweep:
    """One walk through the inbox, and what there will be to remember of it."""

    finished: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    ready: list[FoundFile] = field(default_factory=list)
    unusable: set[bytes] = field(default_factory=set)
    others: Others = field(default_factory=Others)

    @property
    def is_bare(self) -> bool:
        return not (self.finished or self.waiting or self.unusable or self.others.num_files)


class Inbox:
    """Remembers between scans what is still changing and what is done with."""

    def __init__(self, root: Path, settle_seconds: float, max_wait_seconds: float) -> None:
        """Raises InputError when the folder is not there or cannot be read."""
        self.root = root.absolute()
        self.scan_seconds = 0.0  # what the last scan took
        self._settle_seconds = settle_seconds
        self._max_wait_seconds = max_wait_seconds
        self._finished: dict[str, int] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._num_scans = 0
        self._deadline = Deadline(_ANSWER_SECONDS)
        self._is_remote = True  # until the first scan knows
        self._full_mount: str | None = None  # what the inbox was on when something was in it
        try:
            self._real_root = self._deadline.call(lambda: os.path.realpath(self.root))
            self._deadline.call(lambda: os.scandir(self.root).close())
        except OSError as error:
            raise InputError(_why_not(self.root, error)) from error

    def scan(self) -> Scan:
        """The files not yet finished; nothing is forgotten while the inbox is missing."""
        began = time.monotonic()
        mount = mount_of(self._real_root)
        self._is_remote = mount is not None and mount.is_remote
        try:
            sweep = self._reach(self._sweep)
        except OSError as error:
            return _nothing(_why_not(self.root, error))
        missing = self._why_missing(sweep, mount)
        if missing:
            return _nothing(missing)
        self.scan_seconds = time.monotonic() - began
        self._finished, self._waiting = sweep.finished, sweep.waiting
        self._num_scans += 1
        return Scan(
            ready=tuple(self._in_turns(sweep.ready)),
            num_unsettled=len(sweep.waiting) - len(sweep.ready),
            unusable=frozenset(sweep.unusable),
            oldest_seconds=self._oldest_seconds(sweep),
            others=sweep.others,
            is_empty=not (sweep.finished or sweep.waiting),
            missing=None,
        )

    def _oldest_seconds(self, sweep: _Sweep) -> float:
        clock = time.monotonic()
        return max((clock - self._waiting[one.relative].since for one in sweep.ready), default=0.0)

    def read(self, file: FoundFile) -> bytes | None:
        """The whole file; None while it is incomplete or somebody writes to it, or it is gone.

        Raises MediaError when it is not a regular file, cannot be read, or has stayed incomplete
        for too long.
        """
        try:
            return self._reach(lambda: read_whole(str(self.root), file))
        except TimeoutError:
            return None
        except IncompleteError as error:
            self._wait_for(file, error)
            return None

    def finish(self, file: FoundFile) -> None:
        """Not handed out again unless it changes."""
        self._finished[file.relative] = _stamp(file)
        self._waiting.pop(file.relative, None)

    @property
    def is_arriving(self) -> bool:
        """Whether it pays to scan again once the settling time is over."""
        return any(not one.look_at for one in self._waiting.values())

    def _reach(self, call: Callable[[], _Answer]) -> _Answer:
        """What a call into the inbox gives; on a network disk not waited for without end."""
        return self._deadline.call(call) if self._is_remote else call()

    def _sweep(self) -> _Sweep:
        sweep = _Sweep()
        clock, wall_ns = time.monotonic(), time.time_ns()
        for file in walk(str(self.root), sweep.others):
            stamp = _stamp(file)
            if file.problem is not None:
                sweep.unusable.add(file.path_bytes)
            if self._finished.get(file.relative) == stamp:
                sweep.finished[file.relative] = stamp
                continue
            waiting = self._waiting.get(file.relative)
            if waiting is None or waiting.stamp != stamp:
                arrival = waiting.arrival if waiting else self._num_scans
                waiting = _Waiting(stamp=stamp, since=clock, arrival=arrival, look_at=0.0)
            sweep.waiting[file.relative] = waiting
            # A time stamp in the future, of a camera whose clock is ahead, says nothing.
            quiet_seconds = max(clock - waiting.since, (wall_ns - file.mtime_ns) / 1e9)
            is_settled = quiet_seconds >= self._settle_seconds and clock >= waiting.look_at
            if is_settled or file.problem is not None:
                sweep.ready.append(file)
        return sweep

    def _in_turns(self, files: list[FoundFile]) -> Iterator[FoundFile]:
        """In order of arrival, then of names; a few of every camera in turn."""
        files.sort(key=lambda file: (self._waiting[file.relative].arrival, file.relative))
        queues: dict[str, list[FoundFile]] = {}
        for file in files:
            folder, slash, _ = file.relative.partition("/")
            queues.setdefault(folder if slash else "", []).append(file)
        turns = [iter(queues[folder]) for folder in sorted(queues)]
        while turns:
            remaining = []
            for queue in turns:
                turn = list(islice(queue, _TURN))
                yield from turn
                if len(turn) == _TURN:
                    remaining.append(queue)
            turns = remaining

    def _wait_for(self, file: FoundFile, error: IncompleteError) -> None:
        """Looks again when the file changes, else ever more rarely; in the end it is a bad file."""
        clock = time.monotonic()
        waiting = self._waiting.get(file.relative)
        since = waiting.since if waiting else clock
        quiet_seconds = max(clock - since, time.time() - file.mtime_ns / 1e9)
        if quiet_seconds >= self._max_wait_seconds:
            raise MediaError(error.reason, error.detail) from error
        pause = max(self._settle_seconds, clock - since)
        left = self._max_wait_seconds - quiet_seconds
        self._waiting[file.relative] = _Waiting(
            stamp=_stamp(file),
            since=since,
            arrival=waiting.arrival if waiting else self._num_scans,
            look_at=clock + min(pause, left),
        )

    def _why_missing(self, sweep: _Sweep, mount: Mount | None) -> str | None:
        """An inbox that lies bare because its disk is not there, as a sentence."""
        if mount is None:
            return None
        if not sweep.is_bare:
            self._full_mount = mount.point
            return None
        expected = self._full_mount or intended_mount(self._real_root)
        if expected is None or len(mount.point) >= len(expected):
            return None
        return (
            f"the inbox {self.root} is empty because its disk is not mounted on {expected}; "
            "mount it, and the search goes on by itself"
        )


def _stamp(file: FoundFile) -> int:
    """Size and time in one number, which is small to remember."""
    return file.num_bytes << 64 | file.mtime_ns & (1 << 64) - 1


def _nothing(missing: str) -> Scan:
    return Scan(
        ready=(),
        num_unsettled=0,
        unusable=frozenset(),
        oldest_seconds=0.0,
        others=Others(),
        is_empty=False,
        missing=missing,
    )


def _why_not(root: Path, error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return (
            f"the disk of the inbox {root} does not answer; check the network share or the card, "
            "and the search goes on by itself"
        )
    if isinstance(error, FileNotFoundError):
        return f"the inbox {root} does not exist; make it, mount its disk or give another"
    if isinstance(error, NotADirectoryError):
        return f"the inbox {root} is not a folder; give the folder of it"
    return (
        f"the inbox {root} cannot be read ({error.strerror}); allow this user to read it, "
        f"for example `sudo chmod a+rx {root}`"
    )
