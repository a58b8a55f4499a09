"""The Nth write, sync or rename of one cycle fails, for every N: nothing is falsely done."""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import harness
from .harness import FULL, Ledger, Place, make_place, pictures

NUM_FILES = 5
NUM_SAMPLED = 28  # of the trials, where not all of them run
RESUMES_SECONDS = 60
# A device may stop at a failing disk, with a sentence, or wait until it works again.
LEFT_WITH_A_SENTENCE = 1


@dataclass(frozen=True, kw_only=True)
class Fault:
    number: int  # errno
    lasts: bool  # until it is ended, else for one call

    @property
    def name(self) -> str:
        return f"{errno.errorcode[self.number]}{' and from then on' if self.lasts else ''}"


FAULTS = [
    Fault(number=number, lasts=lasts)
    for lasts in (False, True)
    for number in (errno.EIO, errno.ENOSPC)
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and Linux: a failing disk is preloaded")
    path = tmp_path_factory.mktemp("preload") / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, source, "-ldl"],
        check=True,
    )
    yield path


def environment(library: Path, place: Place, at: int, fault: Fault) -> dict[str, str]:
    ended_by = place.state.with_name("fault-lasts")
    if fault.lasts:
        ended_by.touch()
    return {
        "LD_PRELOAD": str(library),
        "FAULT_BELOW": str(place.state),
        "FAULT_NOTES": str(place.log.with_name("calls.txt")),
        "FAULT_AT": str(at),
        "FAULT_ERRNO": str(fault.number),
        **({"FAULT_WHILE": str(ended_by)} if fault.lasts else {}),
    }


def notes(place: Place) -> list[str]:
    return place.log.with_name("calls.txt").read_text().splitlines()


def filled(folder: Path) -> Place:
    place = make_place(folder, "move")
    for number, jpeg in enumerate(pictures(NUM_FILES)):
        harness.put(place.inbox, number, jpeg)
    return place


def num_calls(library: Path, folder: Path) -> int:
    """Calls that write in a cycle without a fault."""
    place = filled(folder)
    ran = harness.run_once(
        place, environment=environment(library, place, 0, Fault(number=errno.EIO, lasts=False))
    )
    assert ran.code == 0, ran.said
    return len(notes(place))


def fail_at(library: Path, folder: Path, at: int, fault: Fault) -> int:
    """The exit code of a run in which the call failed; afterwards everything is well again."""
    place = filled(folder)
    where = f"{fault.name} at call {at}"
    try:
        ran = harness.run_once(
            place,
            environment=environment(library, place, at, fault),
            timeout_seconds=RESUMES_SECONDS if not fault.lasts else 20,
        )
        code, said = ran.code, ran.said
    except subprocess.TimeoutExpired:
        assert fault.lasts, f"{where}: not done {RESUMES_SECONDS} s after the fault"
        code, said = 0, "still waiting for the disk"
    assert code in (0, LEFT_WITH_A_SENTENCE), f"{where}: {said}"
    assert "Traceback" not in said, f"{where}: {said}"
    assert code == 0 or "disk" in said or "cannot" in said, f"{where}: {said}"
    failed = notes(place)[at - 1 : at]
    try:
        harness.check_honest(place, pictures(NUM_FILES))
        harness.finish(place)
        harness.check(place, pictures(NUM_FILES))
    except AssertionError as error:
        raise AssertionError(f"{where}, {failed}: {error}\n{said}") from error
    return code


@pytest.mark.parametrize("fault", FAULTS[:2], ids=lambda fault: fault.name)
def test_a_write_that_fails_is_not_taken_for_done(
    tmp_path: Path, library: Path, fault: Fault
) -> None:
    at = random.Random(harness.seed_of("failing disk")).randrange(30, 50)
    fail_at(library, tmp_path, at, fault)


@pytest.mark.fault
@pytest.mark.timeout(24 * 3600 if FULL else 600)
def test_whichever_call_fails_nothing_is_falsely_done(tmp_path: Path, library: Path) -> None:
    seed = harness.seed_of("failing disk")
    total = num_calls(library, tmp_path / "whole")
    assert total > 40
    trials = [(at, fault) for fault in FAULTS for at in range(1, total + 1)]
    if not FULL:
        every = len(trials) // NUM_SAMPLED
        trials = trials[seed % every :: every]
    ledger = Ledger("failing-disk")
    for number, (at, fault) in enumerate(trials):
        if number < ledger.num_done():
            continue
        code = fail_at(library, tmp_path / f"trial{number}", at, fault)
        shutil.rmtree(tmp_path / f"trial{number}")
        ledger.add(call=at, of=total, fault=fault.name, exit=code)
