"""The power fails: what was acknowledged is there afterwards, and no file is empty.

The cut is a file system told to shut down without writing anything more, on a loop device. All
processes are stopped first, for a sync that is under way at the cut may or may not count.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import harness
from .harness import FULL, Ledger, Place, make_place, pictures

NUM_FILES = 60
NUM_CUTS = {"ext4": 200, "xfs": 50} if FULL else {"ext4": 10, "xfs": 3}
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
IMAGE_BYTES = 400 * 1024 * 1024  # sparse; XFS takes no less than 300 MB
SHUTDOWN, WITHOUT_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, also XFS_IOC_GOINGDOWN


def require(file_system: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a file system is mounted and cut off")
    if shutil.which(MAKE[file_system][0]) is None:
        pytest.skip(f"{MAKE[file_system][0]} is not installed")


def run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)


def make_image(path: Path, file_system: str) -> None:
    path.unlink(missing_ok=True)
    path.touch()
    os.truncate(path, IMAGE_BYTES)
    run(*MAKE[file_system], path)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
    at.mkdir(exist_ok=True)
    try:
        run("mount", "-o", "loop", image, at)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"loop devices cannot be mounted here: {error.stderr.decode().strip()}")
    try:
        yield
    finally:
        run("umount", at)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Holds the process and its workers, so that no sync is under way."""
    everybody = [process.pid, *harness.descendants(process.pid)]
    for pid in everybody:
        harness.signal_to(pid, signal.SIGSTOP)
    for pid in everybody:
        assert harness.wait_until(lambda pid=pid: _state_of(pid) in "TZ", 10)


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def cut_off(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
    finally:
        os.close(descriptor)


def cut_at_work(place: Place, disk: Path, delay_seconds: float) -> set[str]:
    """The media that a reader saw as done before the power went."""
    process = harness.start(place)
    try:
        began_with = len(harness.done_now(place))
        harness.wait_until(lambda: len(harness.done_now(place)) > began_with, 30)
        time.sleep(delay_seconds)
        stop(process)
        acknowledged = harness.done_now(place)
        cut_off(disk)
    finally:
        harness.kill(process)
    return acknowledged


@pytest.mark.fault
@pytest.mark.root
@pytest.mark.timeout(24 * 3600 if FULL else 600)
@pytest.mark.parametrize("inbox", ["another disk", "the same disk"])
@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
def test_a_power_cut_loses_nothing_acknowledged(
    tmp_path: Path, file_system: str, inbox: str
) -> None:
    require(file_system)
    seed = harness.seed_of(f"power cut, {file_system}, inbox on {inbox}")
    ledger = Ledger(f"powercut-{file_system}-{inbox.replace(' ', '-')}")
    for number in range(ledger.num_done(), NUM_CUTS[file_system] // 2 + NUM_CUTS[file_system] % 2):
        rng = random.Random(seed + number)
        image, disk = tmp_path / "disk.img", tmp_path / "disk"
        make_image(image, file_system)
        folder = tmp_path / f"cut{number}"
        place = make_place(
            folder,
            "move",
            state=disk / "state",
            inbox=disk / "inbox" if inbox == "the same disk" else None,
        )
        num_acknowledged = cut_and_check(place, image, disk, rng)
        shutil.rmtree(folder)
        ledger.add(cut=number, seed=seed + number, acknowledged=num_acknowledged, lost=0)


def cut_and_check(place: Place, image: Path, disk: Path, rng: random.Random) -> int:
    jpegs = pictures(NUM_FILES)
    with mounted(image, disk):
        for number, jpeg in enumerate(jpegs):
            harness.put(place.inbox, number, jpeg)
        acknowledged = cut_at_work(place, disk, rng.uniform(0, 0.5))
    with mounted(image, disk):
        files_remain = not place.inbox.is_relative_to(disk)  # else the uploader never synced them
        harness.check_honest(place, jpegs, acknowledged, files_remain=files_remain)
        archived = {path.stem for path in (place.state / "archive").rglob("*.jpg")}
        for number, jpeg in enumerate(jpegs):
            if not files_remain and harness.sha256(jpeg) not in archived:
                harness.put(place.inbox, number, jpeg)
        harness.finish(place)
        harness.check_honest(place, jpegs, acknowledged)
        assert harness.done_now(place) == {harness.sha256(jpeg) for jpeg in jpegs}
        assert list(place.state.rglob("*.tmp")) == []
    return len(acknowledged)
