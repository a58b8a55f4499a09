"""A picture that ends whatever reads it is set aside after three attempts; the others go on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from ..edge.conftest import age
from . import harness
from .harness import Place, make_place, pictures

MAX_ATTEMPTS = 3
NUM_OTHERS = 30


def poison(inbox: Path) -> str:
    """A large noisy PNG takes long enough to decode to be caught in the act; its sha256."""
    noise = np.random.default_rng(1).integers(0, 256, (4000, 4500, 3), dtype=np.uint8)
    data = cv2.imencode(".png", noise, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    path = inbox / "cam0" / "poison.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    age(path)
    return harness.sha256(data)


def row_of(place: Place, sha256: str) -> tuple[str, int] | None:
    """(state, attempts)"""
    rows = harness.query(place, "SELECT state, attempts FROM media WHERE sha256 = ?", sha256)
    return rows[0] if rows else None


def end_its_reader(place: Place, process: subprocess.Popen[bytes], sha256: str) -> None:
    """Aborts the processes that decode as soon as the picture is claimed; else the whole device."""
    seen = (row_of(place, sha256) or ("", 0))[1]
    until = time.monotonic() + 45
    while time.monotonic() < until and process.poll() is None:
        row = row_of(place, sha256)
        if row and row[0] == "quarantined":
            return
        if row and row[0] == "claimed" and row[1] > seen:
            seen = row[1]
            time.sleep(0.02)
            for pid in harness.decoders(process.pid) or [process.pid]:
                harness.signal_to(pid, signal.SIGABRT)
        time.sleep(0.005)


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_what_ends_its_reader_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    sha256 = poison(place.inbox)
    others = pictures(NUM_OTHERS)
    for number, jpeg in enumerate(others):
        harness.put(place.inbox, number, jpeg)
    for _ in range(MAX_ATTEMPTS + 1):
        process = harness.start(place)
        try:
            end_its_reader(place, process, sha256)
            everything = {harness.sha256(jpeg) for jpeg in others}
            done = harness.wait_until(
                lambda wanted=everything: wanted <= harness.done_now(place), 10
            )
        finally:
            harness.kill(process)
        if done and (row_of(place, sha256) or ("", 0))[0] == "quarantined":
            break
    with harness.reading(place) as database:
        states = dict(database.execute("SELECT sha256, state FROM media"))
        assert states == {**dict.fromkeys(everything, "done"), sha256: "quarantined"}
        attempts = "SELECT attempts FROM media WHERE sha256 = ?"
        assert 1 <= database.execute(attempts, (sha256,)).get <= MAX_ATTEMPTS
