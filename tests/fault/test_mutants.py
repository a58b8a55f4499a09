"""Thousands of broken media through the pool: no crash, no hang, no truncated one taken for whole.

Set FULL=1 for the whole of it: 10,000 JPEG, 2,000 PNG and 1,000 clips (FAULTS R6, R7, R9).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.decoding.decoder import Decoded, decode
from edge.decoding.guard import DecodePool
from edge.errors import MediaError

from ..edge.conftest import hollow_png
from ..media_files import WANTED, chunk, clip, jpeg, png, scene, tiff, with_scans, with_size
from ..media_files import text as exif_text

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800)]
FULL = bool(os.environ.get("FULL"))
NUM_JPEG, NUM_PNG, NUM_CLIPS = (10_000, 2_000, 1_000) if FULL else (1_000, 300, 100)
NUM_TRUNCATED = 1_000 if FULL else 200
MAX_MB = 900
_EXIF = tiff([exif_text(0x0110, "E8")], [exif_text(0x9003, "2021:04:11 20:43:09")])


def _jpegs() -> list[bytes]:
    options: list[dict[str, object]] = [
        {}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1},
        {"subsampling": 2, "exif": _EXIF},
    ]  # fmt: skip
    return [jpeg(scene(320, 240, seed), **options[seed % 5]) for seed in range(10)]  # type: ignore[arg-type]


def _pngs() -> list[bytes]:
    deep = cv2.imencode(".png", scene(80, 60).astype(np.uint16) * 200)[1].tobytes()
    return [png(scene(160, 120, seed)) for seed in range(4)] + [deep]


def _clips() -> list[bytes]:
    frames = [scene(160, 120, seed) for seed in range(24)]
    return [clip(frames, ".avi"), clip(frames, ".mp4"), clip(frames[:3], ".avi", rate=1.0)]


def _mutants(originals: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Flipped bits, other bytes, cuts, holes, doubled parts, and parts of one in another."""
    while True:
        body = bytearray(rng.choice(originals))
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            _damage(body, rng, originals)
        yield bytes(body)


def _damage(body: bytearray, rng: random.Random, originals: list[bytes]) -> None:
    # The first bytes say most: half of all damage goes there.
    end = max(min(len(body), 700) if rng.random() < 0.5 else len(body), 1)
    at, length = rng.randrange(end), rng.choice((1, 2, 4, 16, 256))
    kind = rng.randrange(7)
    if kind <= 1 and at < len(body):
        body[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        body[at : at + length] = rng.randbytes(length)
    elif kind == 3:
        body[at : at + length] = bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * length
    elif kind == 4:
        del body[at : at + length]
    elif kind == 5:
        body[at:at] = body[at : at + length]
    else:
        other = rng.choice(originals)
        start = rng.randrange(len(other))
        body[at : at + length] = other[start : start + length]


@dataclass(frozen=True, kw_only=True)
class _Tally:
    outcomes: Counter[str]
    slowest_seconds: float
    peak_mb: float  # of this process and all decoders


def _through(pool: DecodePool, media: Iterable[bytes], check: Callable[[Decoded], str]) -> _Tally:
    """All of them, a few at a time."""
    outcomes: Counter[str] = Counter()
    slowest = peak = 0.0
    waiting: list[tuple[float, Future[Decoded]]] = []

    def settle(number: int) -> None:
        nonlocal slowest, peak
        while len(waiting) > number:
            begun, future = waiting.pop(0)
            try:
                outcomes[check(future.result())] += 1
            except MediaError as error:
                outcomes[error.reason] += 1
            slowest = max(slowest, time.monotonic() - begun)
            if sum(outcomes.values()) % 50 == 0:
                peak = max(peak, _memory_mb())

    for data in media:
        waiting.append((time.monotonic(), pool.submit(data, WANTED)))
        settle(4)
    settle(0)
    return _Tally(outcomes=outcomes, slowest_seconds=slowest, peak_mb=max(peak, _memory_mb()))


def _memory_mb() -> float:
    """PSS of this process and all that descend from it, so that shared pages count once."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    total = 0
    for pid in ours:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )
    return total / 1024


@pytest.mark.parametrize(
    ("make", "number"),
    [(_jpegs, NUM_JPEG), (_pngs, NUM_PNG), (_clips, NUM_CLIPS)],
    ids=["jpeg", "png", "clips"],
)
def test_mutants_harm_nothing(make: Callable[[], list[bytes]], number: int) -> None:
    mutants = islice(_mutants(make(), random.Random(number)), number)
    before = _memory_mb()  # of this process, whatever other tests have left in it
    with DecodePool(2) as pool:
        tally = _through(pool, mutants, lambda done: "damaged" if done.damage else "decoded")
    grown_mb = tally.peak_mb - before
    print(f"\n{number} mutants: {dict(tally.outcomes)}, slowest {tally.slowest_seconds:.2f} s, "
          f"{grown_mb:.0f} MB more")  # fmt: skip
    assert sum(tally.outcomes.values()) == number
    assert tally.outcomes["timeout"] == 0
    assert tally.slowest_seconds < 30
    assert grown_mb < MAX_MB


def test_no_truncated_picture_comes_back_as_a_whole_one() -> None:
    rng = random.Random(77)
    originals = _jpegs()
    cuts = []
    for _ in range(NUM_TRUNCATED):
        data = rng.choice(originals)
        cuts.append(data[: len(data) * rng.randint(1, 99) // 100])
    with DecodePool(2) as pool:
        tally = _through(pool, cuts, lambda done: "damaged" if done.damage else "WHOLE")
    print(f"\n{NUM_TRUNCATED} truncated: {dict(tally.outcomes)}")
    assert tally.outcomes["WHOLE"] == 0
    assert sum(tally.outcomes.values()) == NUM_TRUNCATED


def _bombs() -> list[bytes]:
    small, progressive = jpeg(scene(96, 64)), jpeg(scene(96, 64), progressive=True)
    bombs = [with_size(small, side, side) for side in (8_000, 12_000, 16_384, 30_000, 65_500)]
    bombs += [
        with_size(progressive, side, side) for side in (8_000, 12_000, 16_384, 30_000, 65_500)
    ]
    bombs += [hollow_png(side, side) for side in (8_000, 12_000, 20_000, 60_000, 2**31 - 1)]
    bombs += [hollow_png(2**31 - 1, 1), hollow_png(1, 2**31 - 1), with_size(small, 1, 65_535)]
    bombs += [with_size(small, 65_535, 1), with_size(small, 16_385, 8)]
    bombs += [with_scans(progressive, number) for number in (200, 500, 1_000, 3_000, 10_000)]
    bombs += [with_size(with_scans(progressive, 25), side, 7_000) for side in (7_000, 8_000, 8_500)]
    whole = png(scene(96, 64))
    bombs.append(whole[:33] + chunk(b"acTL", bytes(8)) + whole[33:])
    bombs.append(with_size(small, 30_000, 30_000) + bytes(20_000_000))
    return bombs


def _cost(bomb: bytes) -> tuple[str, float, float]:
    """In a worker: what it was refused for, in what time (ms), for how much memory (MB)."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    try:
        reason = str(decode(bomb, WANTED).kind)
    except MediaError as error:
        reason = error.reason
    milliseconds = (time.perf_counter() - start) * 1000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return reason, milliseconds, grown / 1024


def test_bombs_are_refused_at_once() -> None:
    bombs = _bombs()
    assert len(bombs) == 30
    costs = [_cost(bomb) for bomb in bombs]
    reasons = dict(Counter(one[0] for one in costs))
    slowest, most = max(one[1] for one in costs), max(one[2] for one in costs)
    print(f"\n30 bombs: {reasons}, slowest {slowest:.1f} ms, most {most:.1f} MB")
    assert {one[0] for one in costs} <= {"too-large", "type"}
    assert slowest <= 100
    assert most <= 50
