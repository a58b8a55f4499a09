"""A season at full speed: memory, descriptors, threads and the log of the database stay level.

The clock runs faster (libfaketime, where it is installed), so that what depends on it comes by.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from . import harness
from .harness import FULL, RESULTS, Place, make_place, picture

NUM_FRAMES = 250_000 if FULL else 5_000
SETTLED = NUM_FRAMES // (5 if FULL else 2)  # the caches of the database are full by then
NUM_SAMPLES = 100 if FULL else 20
NUM_WAITING = 500  # frames that lie in the inbox at most
NUM_DRAWINGS = 96
CLOCK_FACTOR = 50
MAX_GROWTH = 1.02  # of the memory, from there to the end
SMALL_MB = 4  # what a short run may be off by: too short for allocators to settle
MAX_WAL_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Sample:
    num_done: int
    seconds: float
    pss_kb: int  # memory of all processes, shared pages divided by their sharers
    num_descriptors: int
    num_threads: int
    wal_bytes: int
    database_bytes: int


def take_sample(place: Place, pid: int, num_done: int, seconds: float) -> Sample:
    everybody = [pid, *harness.descendants(pid)]
    wal = place.state / "edge.db-wal"
    return Sample(
        num_done=num_done,
        seconds=round(seconds, 1),
        pss_kb=sum(_pss_kb(one) for one in everybody),
        num_descriptors=sum(_count(one, "fd") for one in everybody),
        num_threads=sum(_count(one, "task") for one in everybody),
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        database_bytes=place.database.stat().st_size,
    )


def _pss_kb(pid: int) -> int:
    try:
        found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


def _count(pid: int, what: str) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/{what}").iterdir()))
    except FileNotFoundError:
        return 0


def faster_clock() -> dict[str, str]:
    """What makes the wall clock run faster for a process; nothing where libfaketime is absent."""
    faketime = shutil.which("faketime")
    if faketime is None:
        print("libfaketime is not installed: the clock runs as it is")
        return {}
    shown = subprocess.run(
        [faketime, "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    return {
        "LD_PRELOAD": shown.stdout.strip(),
        "FAKETIME": f"+0 x{CLOCK_FACTOR}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def soak(place: Place, samples_file: Path) -> list[Sample]:
    """Feeds all frames and takes samples, each written at once."""
    process = harness.start(place, environment=faster_clock())
    samples: list[Sample] = []
    began = time.monotonic()
    num_fed = num_done = 0
    try:
        with samples_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Sample)])
            while num_done < NUM_FRAMES:
                assert process.poll() is None, place.log.read_text()[-2000:]
                while num_fed < min(NUM_FRAMES, num_done + NUM_WAITING):
                    harness.put(place.inbox, num_fed, picture(num_fed, NUM_DRAWINGS))
                    num_fed += 1
                was, num_done = num_done, harness.num_done_now(place)
                if num_done * NUM_SAMPLES // NUM_FRAMES > was * NUM_SAMPLES // NUM_FRAMES:
                    sample = take_sample(place, process.pid, num_done, time.monotonic() - began)
                    samples.append(sample)
                    writer.writerow([getattr(sample, field.name) for field in fields(Sample)])
                    file.flush()
                time.sleep(0.1)
    finally:
        harness.kill(process)
    return samples


@pytest.mark.fault
@pytest.mark.timeout(24 * 3600 if FULL else 600)
def test_a_season_takes_no_more_memory_at_its_end(tmp_path: Path) -> None:
    place = make_place(tmp_path, "delete")
    folder = RESULTS if FULL else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    samples = soak(place, folder / "soak.csv")
    first = next(one for one in samples if one.num_done >= SETTLED)
    last = samples[-1]
    print(f"\n{first}\n{last}\n{last.num_done / last.seconds:.0f} frames/s")
    after = [one for one in samples if one.num_done >= first.num_done]
    assert last.pss_kb <= MAX_GROWTH * first.pss_kb + (0 if FULL else SMALL_MB * 1024)
    for level in ("num_descriptors", "num_threads"):
        values = [getattr(one, level) for one in after]
        assert max(values) - min(values) <= 4, f"{level}: {values}"
    assert max(one.wal_bytes for one in samples) <= MAX_WAL_BYTES
    harness.finish(place)
    assert len(harness.done_now(place)) == NUM_FRAMES
    assert list(place.inbox.rglob("*.jpg")) == []
