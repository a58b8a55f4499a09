"""A stop at any moment of the work, with a real process."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from edge.record.store import open_reader

from .conftest import Device, draw, save, start

_MAX_SECONDS = 10.0


def _stopped_at(device: Device, inbox: Path, state: Path, moment: float) -> float:
    """Seconds from SIGTERM to the end, which must be in good order.

    `moment`: seconds from the last line of the start to the signal.
    """
    process = start("watch", str(inbox), "--state", str(state), "--model", str(device.model))
    try:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("decisions: "):
            assert process.poll() is None
        time.sleep(moment)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        _, err = process.communicate(timeout=2 * _MAX_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return time.monotonic() - asked


def _require_whole(state: Path) -> int:
    """The number of pictures done; none may be left half-way."""
    store = open_reader(state / "edge.db")
    try:
        states = dict(store.execute("SELECT state, count(*) FROM media GROUP BY state"))
        assert store.execute("PRAGMA integrity_check") == [("ok",)]
        without = store.execute(
            "SELECT count(*) FROM media WHERE state = 'done' AND sha256 NOT IN "
            "(SELECT sha256 FROM detection)"
        )
    finally:
        store.close()
    assert set(states) <= {"done"}, states
    assert without == [(0,)]
    assert list(state.rglob("*.tmp")) == []
    return int(states.get("done", 0))


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_sigterm_at_20_random_moments_ends_in_10_s_with_nothing_half_done(known, tmp_path):
    num_pictures, random_moments = 240, random.Random(5)
    for number in range(num_pictures):
        save(known.inbox / f"{number}.jpg", draw("A", shot=number, side=256))
    counts, slowest = [], 0.0
    for trial in range(20):
        state = tmp_path / f"state-{trial}"
        shutil.copytree(known.state, state)
        seconds = _stopped_at(known, known.inbox, state, random_moments.uniform(0.1, 1.5))
        slowest = max(slowest, seconds)
        counts.append(_require_whole(state))
    print(f"slowest {slowest:.2f} s; pictures done at the stop: {sorted(counts)}")
    assert slowest <= _MAX_SECONDS
    assert any(0 < one < num_pictures for one in counts), counts  # some were met in the middle
