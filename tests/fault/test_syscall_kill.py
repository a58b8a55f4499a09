"""Killed at every system call of one cycle that changes a file: the next run completes it."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from . import harness
from .harness import FULL, KILLED, Ledger, Place, make_place, pictures

NUM_FILES = 4
NUM_SAMPLED = 24  # of the calls, where not all of them are tried
CALLS = (
    "write,pwrite64,pwritev,fsync,fdatasync,ftruncate,fallocate,sendfile,copy_file_range,"
    "/^rename,/^unlink,/^link,/^mkdir"
)


def traced(tracer: str, calls_file: Path, *inject: str) -> list[str]:
    return [tracer, "-f", "-qq", "-o", str(calls_file), "-e", f"trace={CALLS}", *inject]


def filled(folder: Path) -> Place:
    place = make_place(folder, "move")
    for number, jpeg in enumerate(pictures(NUM_FILES)):
        harness.put(place.inbox, number, jpeg)
    return place


def calls_of_a_cycle(tracer: str, folder: Path) -> list[tuple[str, int]]:
    """Every call by its name and number: strace counts each name by itself, thread by thread."""
    place = filled(folder)
    calls_file = folder / "calls.txt"
    ran = harness.run_once(place, before=traced(tracer, calls_file))
    assert ran.code == 0, ran.said
    lines = calls_file.read_text(errors="replace").splitlines()
    begun = (re.match(r"(\d+) +([a-z0-9_]+)\(", line) for line in lines)
    of_thread = Counter((found[1], found[2]) for found in begun if found)
    most: dict[str, int] = {}
    for (_, name), number in of_thread.items():
        most[name] = max(number, most.get(name, 0))
    return [(name, number) for name in sorted(most) for number in range(1, most[name] + 1)]


@pytest.mark.fault
@pytest.mark.timeout(24 * 3600 if FULL else 900)
def test_killed_at_any_system_call_the_next_run_completes(tmp_path: Path) -> None:
    tracer = harness.strace()
    if tracer is None:
        pytest.skip("strace is not installed or may not trace")
    seed = harness.seed_of("system calls")
    every_call = calls_of_a_cycle(tracer, tmp_path / "whole")
    assert {"fsync", "rename", "pwrite64"} <= {name for name, _ in every_call}
    every = 1 if FULL else max(1, len(every_call) // NUM_SAMPLED)
    trials = every_call[seed % every :: every]
    ledger = Ledger("syscall-kill")
    num_killed = 0
    for name, number in trials[ledger.num_done() :]:
        num_killed += kill_at(tracer, tmp_path / f"{name}{number}", name, number)
        ledger.add(call=name, number=number, calls=len(every_call), violations=0)
    assert FULL or num_killed > len(trials) * 3 // 4


def kill_at(tracer: str, folder: Path, name: str, number: int) -> bool:
    """Whether the program did not survive it; afterwards everything is well again."""
    place = filled(folder)
    inject = ("-e", f"inject={name}:signal=SIGKILL:when={number}")
    ran = harness.run_once(place, before=traced(tracer, folder / "calls.txt", *inject))
    assert ran.code in (0, KILLED), ran.said
    try:
        harness.check_honest(place, pictures(NUM_FILES))
        harness.finish(place)
        harness.check(place, pictures(NUM_FILES))
    except AssertionError as error:
        raise AssertionError(f"killed at {name} {number}: {error}") from error
    shutil.rmtree(folder)
    return ran.code != 0
