"""What a frame costs a memory card where one arrives every second."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from . import harness
from .harness import FULL, make_place, pictures
from .wear import costs

NUM_FRAMES = 600 if FULL else 60
MAX_KB_A_FRAME = 40
CALLS = "write,pwrite64,fsync,fdatasync"


@pytest.mark.fault
@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_frame_a_second_costs_a_card_one_sync_of_the_log(tmp_path: Path, after: str) -> None:
    tracer = harness.strace()
    if tracer is None:
        pytest.skip("strace is not installed or may not trace")
    place = make_place(tmp_path, after)
    place.settings.write_text("")
    calls = tmp_path / "calls.txt"
    jpegs = pictures(NUM_FRAMES + 1)
    process = harness.start(
        place, before=[tracer, "-f", "-qq", "-y", "-o", str(calls), "-e", f"trace={CALLS}"]
    )
    try:
        harness.put(place.inbox, 0, jpegs[0])
        assert harness.wait_until(lambda: harness.num_done_now(place) == 1, 60)
        begun_at = calls.stat().st_size
        began = time.monotonic()
        for number, jpeg in enumerate(jpegs[1:], start=1):
            time.sleep(max(0.0, began + number - time.monotonic()))
            harness.put(place.inbox, number, jpeg)
        wanted = len(jpegs)
        assert harness.wait_until(lambda: harness.num_done_now(place) == wanted, 120)
    finally:
        # Closing writes the log into the database: that is counted too. strace itself stays.
        harness.signal_to(harness.descendants(process.pid)[0], signal.SIGTERM)
        process.wait(120)
        harness.kill(process)
    num_bytes, syncs = costs(place, calls.read_bytes()[begun_at:].decode(errors="replace"))
    for what in sorted({*num_bytes, *syncs}):
        print(f"{after}, {what}: {num_bytes[what] / NUM_FRAMES / 1024:.1f} KB and "
              f"{syncs[what] / NUM_FRAMES:.2f} syncs a frame")  # fmt: skip
    without_crops = sum(number for what, number in num_bytes.items() if what != "crops")
    assert without_crops <= MAX_KB_A_FRAME * 1024 * NUM_FRAMES
    assert syncs["edge.db-wal"] <= 1.1 * NUM_FRAMES + 4
