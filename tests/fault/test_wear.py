"""What a frame costs a memory card: bytes and syncs, crops apart, at one frame a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import harness
from .harness import FULL, make_place, pictures
from .wear import costs

NUM_FRAMES = 1000 if FULL else 40  # each waits until two seconds are over
MAX_KB_A_FRAME = 50 if FULL else 40  # indexes grow deeper; test_wear_live.py holds 40 in both
MAX_SYNCS_A_FRAME = 2  # of the database's log, where each frame comes alone: attempt, record
CALLS = "write,pwrite64,fsync,fdatasync"


@pytest.mark.fault
@pytest.mark.timeout(3600 if FULL else 300)
def test_a_frame_costs_a_card_little(tmp_path: Path) -> None:
    tracer = harness.strace()
    if tracer is None:
        pytest.skip("strace is not installed or may not trace")
    place = make_place(tmp_path, "delete")
    calls = tmp_path / "calls.txt"
    jpegs = pictures(NUM_FRAMES + 1)
    process = harness.start(
        place, before=[tracer, "-f", "-qq", "-y", "-o", str(calls), "-e", f"trace={CALLS}"]
    )
    try:
        harness.put(place.inbox, 0, jpegs[0])
        assert harness.wait_until(lambda: harness.num_done_now(place) == 1, 60)
        begun_at = calls.stat().st_size
        for number, jpeg in enumerate(jpegs[1:], start=1):
            harness.put(place.inbox, number, jpeg)
            wanted = number + 1
            assert harness.wait_until(lambda n=wanted: harness.num_done_now(place) == n, 30)
        text = calls.read_bytes()[begun_at:].decode(errors="replace")
    finally:
        harness.kill(process)
    num_bytes, syncs = costs(place, text)
    for what in sorted({*num_bytes, *syncs}):
        print(f"{what}: {num_bytes[what] / NUM_FRAMES / 1024:.1f} KB and "
              f"{syncs[what] / NUM_FRAMES:.2f} syncs a frame")  # fmt: skip
    without_crops = sum(number for what, number in num_bytes.items() if what != "crops")
    assert without_crops <= MAX_KB_A_FRAME * 1024 * NUM_FRAMES
    assert syncs["edge.db-wal"] <= MAX_SYNCS_A_FRAME * NUM_FRAMES + 4
