"""The disk of the state folder fills up and is freed again while pictures arrive."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import harness
from .harness import FULL, Ledger, make_place, pictures

NUM_CYCLES = 50 if FULL else 5
FILES_A_CYCLE = 24
DISK_MB = 64
RESUMES_SECONDS = 60


@contextmanager
def small_disk(at: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("needs root: a small disk is mounted")
    at.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "small", at],
        check=True,
        capture_output=True,
    )
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


def fill(disk: Path) -> None:
    """Everything that is free, down to the last page."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (1024 * 1024, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


@pytest.mark.fault
@pytest.mark.root
@pytest.mark.timeout(24 * 3600 if FULL else 900)
def test_a_full_disk_stops_nothing_for_good(tmp_path: Path) -> None:
    rng = random.Random(harness.seed_of("full disk"))
    disk = tmp_path / "disk"
    ledger = Ledger("full-disk")
    jpegs = pictures(NUM_CYCLES * FILES_A_CYCLE + 1)
    with small_disk(disk):
        place = make_place(tmp_path / "device", "keep", state=disk / "state")
        process = harness.start(place)
        try:
            harness.put(place.inbox, len(jpegs) - 1, jpegs[-1])
            assert harness.wait_until(lambda: harness.num_done_now(place) == 1, 60)
            for number in range(NUM_CYCLES):
                resumed = one_cycle(place, process, disk, jpegs, number, rng)
                ledger.add(cycle=number, resumed_after_seconds=round(resumed, 1), lost=0)
        finally:
            harness.kill(process)
        harness.finish_and_idle(place)
        harness.check(place, jpegs)


def one_cycle(
    place: harness.Place,
    process: subprocess.Popen[bytes],
    disk: Path,
    jpegs: list[bytes],
    number: int,
    rng: random.Random,
) -> float:
    """Seconds from the moment space is free again until everything that arrived is done."""
    first = number * FILES_A_CYCLE
    before, at_once = rng.randrange(FILES_A_CYCLE), rng.uniform(0, 1)
    for one in range(first, first + FILES_A_CYCLE):
        if one == first + before:
            time.sleep(at_once)
            fill(disk)
        harness.put(place.inbox, one, jpegs[one])
    time.sleep(3)
    assert process.poll() is None, place.log.read_text()[-2000:]
    (disk / "filler").unlink()
    freed = time.monotonic()
    arrived = {harness.sha256(jpeg) for jpeg in [*jpegs[: first + FILES_A_CYCLE], jpegs[-1]]}
    done = harness.wait_until(lambda: harness.done_now(place) == arrived, RESUMES_SECONDS)
    assert process.poll() is None, place.log.read_text()[-2000:]
    assert done, f"{len(arrived - harness.done_now(place))} files not done after a minute"
    return time.monotonic() - freed
