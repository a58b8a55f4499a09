"""SIGKILL at random moments: afterwards every picture is in the database exactly once."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import harness
from .harness import FULL, Ledger, Place, make_place, pictures


@dataclass(frozen=True, kw_only=True)
class Block:
    num_files: int
    num_kills: int


NUM_BLOCKS, BLOCK = (20, Block(num_files=1000, num_kills=50)) if FULL else (
    2, Block(num_files=200, num_kills=18)
)  # fmt: skip
NUM_WORKER_KILLS = 200 if FULL else 10
LONG = pytest.mark.timeout(24 * 3600 if FULL else 600)


def kill_at_random(place: Place, block: Block, rng: random.Random) -> int:
    """The number of kills after which more was done than before."""
    jpegs = pictures(block.num_files)
    usual = harness.start_seconds(place)
    progressed, before = 0, 0
    orphans: set[tuple[int, str]] = set()
    with harness.feeding(place.inbox, jpegs, rng, 1.2 * usual * block.num_kills):
        for _ in range(block.num_kills):
            process = harness.start(place)
            time.sleep(rng.uniform(0.05, 2.5 * usual))  # from within the start to well at work
            assert process.poll() is None, place.log.read_text()[-2000:]
            orphans |= harness.kill_alone(process)
            done = len(harness.done_now(place))
            progressed += done > before
            before = done
    orphans = {(pid, birth) for pid, birth in orphans if birth}
    ended = harness.wait_until(
        lambda: all(harness.birth_of(pid) != birth for pid, birth in orphans), 10
    )
    assert ended, "processes of a killed device live on"
    harness.finish_and_idle(place)
    harness.check(place, jpegs)
    return progressed


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    place = make_place(tmp_path, "move")
    kill_at_random(place, Block(num_files=20, num_kills=3), random.Random(harness.seed_of("kill")))


@pytest.mark.fault
@LONG
def test_kills_at_any_moment_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    seed = harness.seed_of("kill")
    ledger = Ledger("kill")
    for number in range(ledger.num_done(), NUM_BLOCKS):
        after = ("move", "keep")[number % 2]
        place = make_place(tmp_path / f"block{number}", after)
        progressed = kill_at_random(place, BLOCK, random.Random(seed + number))
        assert progressed >= BLOCK.num_kills // 5  # the kills hit a program at work
        ledger.add(
            block=number, seed=seed + number, after=after, kills=BLOCK.num_kills,
            kills_after_new_results=progressed, files=BLOCK.num_files, lost=0, double=0,
        )  # fmt: skip


@pytest.mark.fault
@LONG
@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGKILL])
def test_a_worker_that_dies_costs_nothing(tmp_path: Path, how: signal.Signals) -> None:
    """What os.abort() or the kernel's memory killer does to a process that decodes."""
    rng = random.Random(harness.seed_of("worker"))
    place = make_place(tmp_path, "move")
    jpegs = pictures(20 * NUM_WORKER_KILLS)
    num_killed = 0
    process = harness.start(place)
    try:
        with harness.feeding(place.inbox, jpegs, rng, 1.2 * NUM_WORKER_KILLS) as feeder:
            while feeder.is_alive():
                time.sleep(
                    rng.uniform(0.8, 1.6)
                )  # three hits in a row would be the file's own fault
                assert process.poll() is None, place.log.read_text()[-2000:]
                workers = harness.decoders(process.pid)
                if workers:
                    harness.signal_to(rng.choice(workers), how)
                    num_killed += 1
        everything = {harness.sha256(jpeg) for jpeg in jpegs}
        is_done = harness.wait_until(lambda: harness.done_now(place) == everything, 60)
        counts = harness.query(place, "SELECT state, reason, attempts, count(*) FROM media "
                               "GROUP BY state, reason, attempts")  # fmt: skip
        assert is_done, (counts, place.log.read_text()[-2000:])
    finally:
        harness.kill(process)
    if not num_killed:
        pytest.skip("pictures are not decoded in processes of their own")
    print(f"{num_killed} workers ended by {how.name}, {len(jpegs)} files")
    harness.finish_and_idle(place)
    harness.check(place, jpegs)
