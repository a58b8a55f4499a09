"""SIGKILL at random moments: afterwards every picture is in the database exactly once."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import apsw
import cv2
import pytest

from ..edge.conftest import draw, start, write_model

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
NUM_FILES, NUM_KILLS = 500, 50
SETTLE_SECONDS = 0.1


def _jpegs() -> list[bytes]:
    return [
        cv2.imencode(".jpg", draw("ABCDEFGH"[shot % 8], shot=shot, side=48))[1].tobytes()
        for shot in range(NUM_FILES)
    ]


def _feed(inbox: Path, jpegs: list[bytes], rng: random.Random, seconds: float) -> None:
    """As uploads arrive: most by a temporary name, every fifth slowly under its own."""
    for number, jpeg in enumerate(jpegs):
        target = inbox / f"cam{number % 3}" / f"IMG_{number:04d}.jpg"
        target.parent.mkdir(exist_ok=True)
        if number % 5:
            temporary = target.with_name(f".in.{target.name}")
            temporary.write_bytes(jpeg)
            temporary.rename(target)
            time.sleep(rng.uniform(0, 2 * seconds / len(jpegs)))
        else:
            with target.open("wb", buffering=0) as file:
                for piece in range(0, len(jpeg), len(jpeg) // 3 + 1):
                    file.write(jpeg[piece : piece + len(jpeg) // 3 + 1])
                    time.sleep(0.05)


@pytest.mark.parametrize("after", ["keep", "move"])
def test_fifty_kills_lose_nothing_and_count_nothing_twice(tmp_path: Path, after: str) -> None:
    rng = random.Random(5)
    inbox, state = tmp_path / "inbox", tmp_path / "state"
    inbox.mkdir()
    settings = tmp_path / "edge.toml"
    settings.write_text(f"settle_seconds = {SETTLE_SECONDS}\n")
    model = write_model(tmp_path / "tiny.onnx")
    jpegs = _jpegs()

    def watch(*flags: str) -> subprocess.Popen[str]:
        return start(
            "watch", str(inbox), "--state", str(state), "--model", str(model),
            "--config", str(settings), "--after", after, *flags,
        )  # fmt: skip

    feeder = threading.Thread(target=_feed, args=(inbox, jpegs, rng, 50.0))
    feeder.start()
    done_before: list[int] = []
    for _ in range(NUM_KILLS):
        process = watch()
        # From within the start (about 0.6 s) to well into the work.
        time.sleep(rng.uniform(0.05, 1.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done_before.append(_count_done(state))
    feeder.join()
    for _ in range(2):  # what a kill left over is taken up; then there is nothing to do
        process = watch("--once")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert ("no pictures in" if after == "move" else "done: 0 new frames") in out

    progressed = sum(b > a for a, b in zip([0, *done_before], done_before, strict=False))
    print(f"\n{after}: {done_before[-1]} of {NUM_FILES} done before the last run, "
          f"{progressed} of {NUM_KILLS} kills came after new results")  # fmt: skip
    assert progressed >= NUM_KILLS // 5  # the kills hit a program at work
    _check(state, inbox, jpegs, after)


def _count_done(state: Path) -> int:
    if not (state / "edge.db").is_file():
        return 0
    connection = apsw.Connection(str(state / "edge.db"), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return int(connection.execute("SELECT count(*) FROM media WHERE state='done'").get)
    except apsw.SQLError:  # killed before the tables were there
        return 0
    finally:
        connection.close()


def _check(state: Path, inbox: Path, jpegs: list[bytes], after: str) -> None:
    connection = apsw.Connection(str(state / "edge.db"))
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    assert list(connection.execute("PRAGMA foreign_key_check")) == []
    expected = sorted(hashlib.sha256(jpeg).hexdigest() for jpeg in jpegs)
    rows = list(connection.execute("SELECT sha256, state, attempts FROM media ORDER BY sha256"))
    assert [row[0] for row in rows] == expected
    assert {row[1] for row in rows} == {"done"}
    print(f"{sum(row[2] > 1 for row in rows)} media were begun more than once, "
          f"at most {max(row[2] for row in rows)} times")  # fmt: skip
    assert list(connection.execute("SELECT * FROM quarantine")) == []
    detections = connection.execute("SELECT sha256, crop FROM detection ORDER BY sha256").get
    assert [row[0] for row in detections] == expected
    for _, crop in detections:
        data = (state / "crops" / f"{crop}.jpg").read_bytes()
        assert hashlib.sha256(data).hexdigest() == crop
    assert connection.execute("SELECT count(*) FROM media_path").get == NUM_FILES
    assert (
        connection.execute("SELECT count(*) FROM detection WHERE observation_id IS NULL").get == 0
    )
    assert _events_agree(connection)
    left = [path for path in inbox.rglob("*.jpg") if path.is_file()]
    assert len(left) == (NUM_FILES if after == "keep" else 0)
    if after == "move":
        archived = sorted(path.stem for path in (state / "archive").rglob("*.jpg"))
        assert archived == expected
    assert not [path for path in state.rglob("*.tmp") if os.path.exists(path)]  # noqa: PTH110


def _events_agree(connection: apsw.Connection) -> bool:
    """Every event spans just its detections, and events of a camera lie more than 60 s apart."""
    wrong = connection.execute(
        "SELECT count(*) FROM (SELECT event_id, start_at, end_at, min(captured_at) AS first, "
        "max(captured_at) AS last FROM event JOIN detection USING (event_id) "
        "JOIN media USING (sha256) GROUP BY event_id) WHERE start_at <> first OR end_at <> last"
    ).get
    return bool(wrong == 0)
