"""Twenty things a field device's clock does: nothing crashes, nothing is lost, order is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import cv2
import pytest

from ..edge.conftest import draw, write_model

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime"),
]
# What the clock says in the first and in the second run, and the time zone of each.
RUNS = {
    "started in 1970, then set": ("@1970-01-01 00:00:10", "+0", "UTC", "UTC"),
    "set, then back in 1970": ("+0", "@1970-01-01 00:00:10", "UTC", "UTC"),
    "1970 twice": ("@1970-01-01 00:00:10", "@1970-01-01 00:00:10", "UTC", "UTC"),
    "ten years back": ("+0", "-3650d", "UTC", "UTC"),
    "ten years ahead": ("+0", "+3650d", "UTC", "UTC"),
    "ten years ahead, then right": ("+3650d", "+0", "UTC", "UTC"),
    "a day back": ("+0", "-1d", "UTC", "UTC"),
    "a second back": ("+0", "-1s", "UTC", "UTC"),
    "the end of 32 bits": ("@2038-01-19 03:14:00", "@2038-01-19 03:14:10", "UTC", "UTC"),
    "the year 2099": ("@2099-12-31 23:59:50", "+0", "UTC", "UTC"),
    "the first of 2000": ("@2000-01-01 00:00:00", "+0", "UTC", "UTC"),
    "the 29th of February": ("@2028-02-29 23:59:58", "@2028-03-01 00:00:01", "UTC", "UTC"),
    "over New Year": ("@2026-12-31 23:59:58", "@2027-01-01 00:00:01", "UTC", "UTC"),
    "into summer time": (
        "@2027-03-28 01:59:58", "@2027-03-28 03:00:02", "Europe/Berlin", "Europe/Berlin",
    ),
    "out of summer time": (
        "@2027-10-31 02:59:58", "@2027-10-31 02:00:02", "Europe/Berlin", "Europe/Berlin",
    ),
    "over the date line": ("+0", "+0", "Pacific/Kiritimati", "Pacific/Pago_Pago"),
}  # fmt: skip
# What the clock says while one run goes on.
STEPS = {
    "from 1970 to now": ("@1970-01-01 00:00:10", "+0"),
    "ten years back": ("+0", "-3650d"),
    "ten years ahead": ("+0", "+3650d"),
    "back and forth by hours": ("+7200", "-7200"),
}


def _put(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        jpeg = cv2.imencode(".jpg", draw("A", shot=number))[1].tobytes()
        # Later arrivals have the smaller names: a name is no order either.
        (folder / f"IMG_{9999 - number:04}.jpg").write_bytes(jpeg)


def _environment(zone: str, **more: str) -> dict[str, str]:
    """The files keep their true times, and time since the start is not faked: only the clock."""
    return {
        **os.environ, "TZ": zone, "NO_FAKE_STAT": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1", **more,
    }  # fmt: skip


def _words(tmp_path: Path, inbox: Path) -> list[str]:
    model, settings = tmp_path / "tiny.onnx", tmp_path / "edge.toml"
    if not model.exists():
        write_model(model)
    settings.write_text("settle_seconds = 0.2\nrescan_seconds = 1.0\n")
    return [
        sys.executable, "-c", "from edge import cli; cli.watch()", str(inbox), "--state",
        str(tmp_path / "state"), "--model", str(model), "--config", str(settings),
    ]  # fmt: skip


def _recorded(state: Path) -> list[tuple[str, str]]:
    """Names and states, in order of arrival."""
    connection = apsw.Connection(str(state / "edge.db"))
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    rows = connection.execute(
        "SELECT path, state FROM media JOIN media_path USING (sha256) ORDER BY seq"
    )
    return [(Path(os.fsdecode(path)).name, state) for path, state in rows]


def _check(tmp_path: Path, inbox: Path) -> None:
    rows = _recorded(tmp_path / "state")
    assert len(rows) == 8
    assert {state for _, state in rows} == {"done"}
    numbers = [9999 - int(name[4:8]) for name, _ in rows]
    assert sorted(numbers[:4]) == [0, 1, 2, 3]  # what came first was recorded first
    assert len(list(inbox.rglob("*.jpg"))) == 8


@pytest.mark.parametrize("scenario", RUNS)
def test_two_runs_under_two_clocks(tmp_path: Path, scenario: str) -> None:
    *clocks, first_zone, second_zone = RUNS[scenario]
    inbox = tmp_path / "inbox"
    for begin, clock, zone in zip((0, 4), clocks, (first_zone, second_zone), strict=True):
        _put(inbox / "cam", range(begin, begin + 4))
        ran = subprocess.run(
            ["faketime", "-f", clock, *_words(tmp_path, inbox), "--once"],
            env=_environment(zone), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "4 new frames" in ran.stdout
    _check(tmp_path, inbox)


@pytest.mark.parametrize("scenario", STEPS)
def test_a_step_while_it_watches(tmp_path: Path, scenario: str) -> None:
    before, after = STEPS[scenario]
    inbox, clock = tmp_path / "inbox", tmp_path / "clock"
    clock.write_text(before)
    _put(inbox / "cam", range(4))
    more = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    preload = subprocess.check_output(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], text=True)
    more |= {"LD_PRELOAD": preload.strip()}  # not by the command, which keeps signals to itself
    process = subprocess.Popen(
        _words(tmp_path, inbox), env=_environment("UTC", **more), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _until_done(tmp_path / "state", 4)
        clock.write_text(after)
        _put(inbox / "cam", range(4, 8))
        _until_done(tmp_path / "state", 8)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert "8 new frames" in out
    _check(tmp_path, inbox)
    connection = apsw.Connection(str(tmp_path / "state" / "edge.db"))
    sql = "SELECT unixepoch(seen_at) FROM media ORDER BY seq"
    seen = [row[0] for row in connection.execute(sql)]
    assert abs(seen[4] - seen[3]) > 3000  # the step was one


def _until_done(state: Path, number: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if len(_recorded(state)) == number:
                return
        except apsw.Error:  # not made yet
            pass
        time.sleep(0.1)
    raise AssertionError(f"{number} pictures are not recorded after 30 s")
