"""Slow, aborted, resumed, renamed and replaced uploads: each final content exactly once.

Sixty by default, a thousand with FULL=1 in the environment.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import cv2
import pytest

from ..edge.conftest import draw, start, write_model

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
NUM_UPLOADS = 1000 if os.environ.get("FULL") else 60
SETTLE_SECONDS = 0.3
PAUSE_SECONDS = 0.9  # an upload that stands still for longer than it takes to settle


def _jpeg(shot: int) -> bytes:
    whole = cv2.imencode(".jpg", draw("ABCDEFGH"[shot % 8], shot=shot, side=48))[1].tobytes()
    return whole


def _write(path: Path, data: bytes, mode: str = "wb") -> None:
    with path.open(mode) as file:
        file.write(data)


def _slow(path: Path, data: bytes, rng: random.Random) -> None:
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), len(data) // 4 + 1):
            file.write(data[at : at + len(data) // 4 + 1])
            time.sleep(PAUSE_SECONDS / 2)


def _aborted(path: Path, data: bytes, rng: random.Random) -> None:
    """Closed early, and sent again from its beginning."""
    _write(path, data[: rng.randrange(len(data))])
    time.sleep(rng.uniform(0, 2 * PAUSE_SECONDS))
    _write(path, data)


def _resumed(path: Path, data: bytes, rng: random.Random) -> None:
    """Closed at every break, and appended to after it (FTP's REST)."""
    cuts = sorted(rng.sample(range(1, len(data)), 2))
    _write(path, data[: cuts[0]])
    for begin, end in ((cuts[0], cuts[1]), (cuts[1], len(data))):
        time.sleep(rng.uniform(0, 2 * PAUSE_SECONDS))
        _write(path, data[begin:end], "ab")


def _renamed(path: Path, data: bytes, rng: random.Random) -> None:
    names = (".in.{}.", "{}.part", "{}.filepart", ".{}.Xa81bc", ".pureftpd-upload.{}", "{}.tmp")
    temporary = path.with_name(rng.choice(names).format(path.name))
    _write(temporary, data[: len(data) // 2])
    time.sleep(PAUSE_SECONDS)
    _write(temporary, data[len(data) // 2 :], "ab")
    temporary.rename(path)


def _filled(path: Path, data: bytes, rng: random.Random) -> None:
    """Made at its full length first, then filled, as some network shares do."""
    with path.open("wb") as file:
        file.truncate(len(data))
    time.sleep(PAUSE_SECONDS)
    with path.open("r+b") as file:
        file.write(data[: len(data) // 2])
    time.sleep(PAUSE_SECONDS)
    with path.open("r+b") as file:
        file.write(data)


KINDS: tuple[Callable[[Path, bytes, random.Random], None], ...] = (
    _slow, _aborted, _resumed, _renamed, _filled,
)  # fmt: skip


def test_every_final_content_is_recorded_once_and_no_part_of_one(tmp_path: Path) -> None:
    inbox, state = tmp_path / "inbox", tmp_path / "state"
    settings = tmp_path / "edge.toml"
    settings.write_text(f"settle_seconds = {SETTLE_SECONDS}\nrescan_seconds = 5.0\n")
    contents = [_jpeg(shot) for shot in range(NUM_UPLOADS)]
    assert len(set(contents)) == NUM_UPLOADS
    for camera in range(5):
        (inbox / f"cam{camera}").mkdir(parents=True)
    process = start(
        "watch", str(inbox), "--state", str(state), "--model",
        str(write_model(tmp_path / "tiny.onnx")), "--config", str(settings),
    )  # fmt: skip
    try:
        with ThreadPoolExecutor(8) as uploads:
            for number, data in enumerate(contents):
                path = inbox / f"cam{number % 5}" / f"IMG_{number:04}.jpg"
                uploads.submit(
                    KINDS[number % 5 - number // 5 % 5], path, data, random.Random(number)
                )
        uploaded = time.monotonic()
        while _num_done(state) < NUM_UPLOADS and time.monotonic() < uploaded + 60:
            time.sleep(0.2)
        seconds = time.monotonic() - uploaded
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    connection = apsw.Connection(str(state / "edge.db"))
    recorded = list(connection.execute("SELECT sha256, state FROM media"))
    final = {hashlib.sha256(data).hexdigest() for data in contents}
    print(f"\n{NUM_UPLOADS} uploads: {len(recorded)} media, the last {seconds:.1f} s after it came")
    assert [row for row in recorded if row[0] not in final] == []
    assert {row[0] for row in recorded} == final
    assert {row[1] for row in recorded} == {"done"}
    assert connection.execute("SELECT count(*) FROM media_path").get == NUM_UPLOADS
    assert connection.execute("SELECT count(*) FROM detection").get == NUM_UPLOADS
    assert connection.execute("SELECT count(*) FROM quarantine").get == 0


def _num_done(state: Path) -> int:
    if not (state / "edge.db").is_file():
        return 0
    connection = apsw.Connection(str(state / "edge.db"))
    try:
        return int(connection.execute("SELECT count(*) FROM media WHERE state = 'done'").get)
    except apsw.SQLError:  # the tables are not there yet
        return 0
    finally:
        connection.close()
