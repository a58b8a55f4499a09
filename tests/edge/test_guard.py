"""A file that crashes, hangs or eats memory costs itself and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from edge.decoding.guard import DecodePool
from edge.errors import InstallError, MediaError

from ..media_files import WANTED, clip, jpeg, scene

GOOD = jpeg(scene(96, 64))


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    with DecodePool(1, picture_seconds=0.5) as opened:
        yield opened


def test_a_picture_and_a_clip_come_back(pool: DecodePool) -> None:
    done = pool.submit(GOOD, WANTED).result()
    assert (done.kind, done.width, done.height) == ("image", 96, 64)
    assert pool.submit(clip([scene(96, 64)] * 12), WANTED).result().kind == "video"


def test_a_refusal_comes_back_with_its_reason(pool: DecodePool) -> None:
    with pytest.raises(MediaError) as refused:
        pool.submit(GOOD[:400], WANTED).result()
    assert refused.value.reason == "truncated"


@pytest.mark.parametrize(
    ("function", "argument", "reason"),
    [
        (os._exit, 3, "crashed"),
        (signal.raise_signal, signal.SIGSEGV, "crashed"),
        (signal.raise_signal, signal.SIGABRT, "crashed"),
        (signal.raise_signal, signal.SIGKILL, "crashed"),
        (time.sleep, 60, "timeout"),
        (bytearray, 4 << 30, "memory"),
    ],
    ids=["exit", "segfault", "abort", "killed", "hang", "memory"],
)
def test_it_costs_one_file(pool: DecodePool, function: object, argument: int, reason: str) -> None:
    before = pool.submit(GOOD, WANTED)
    bad = pool.call(function, argument)  # type: ignore[arg-type]
    after = pool.submit(GOOD, WANTED)
    assert before.result().width == after.result().width == 96
    with pytest.raises(MediaError) as ended:
        bad.result()
    assert ended.value.reason == reason


@pytest.mark.parametrize("how", ["abort()", "kill(os.getpid(), 9)"])
def test_a_file_whose_worker_died_once_is_tried_again(
    pool: DecodePool, tmp_path: Path, how: str
) -> None:
    been_here = repr(str(tmp_path / "been here"))
    words = f"import os\nif not os.path.isdir({been_here}): os.mkdir({been_here}); os.{how}"
    pool.call(exec, words).result()
    assert (tmp_path / "been here").is_dir()


def test_a_worker_killed_while_idle_costs_nothing(pool: DecodePool) -> None:
    os.kill(pool.call(os.getpid).result(), signal.SIGKILL)
    assert pool.submit(GOOD, WANTED).result().width == 96


def test_a_stopped_worker_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.decoding.guard._GRACE_SECONDS", 0.3)
    with DecodePool(1, picture_seconds=0.2) as pool:
        with pytest.raises(MediaError, match="timeout"):
            pool.call(signal.raise_signal, signal.SIGSTOP).result()
        assert pool.submit(GOOD, WANTED).result().width == 96


def test_a_worker_is_renewed_after_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.decoding.guard._FILES_PER_WORKER", 3)
    with DecodePool(1) as pool:
        pids = [pool.call(os.getpid).result() for _ in range(7)]
    assert [len(set(pids[:3])), len(set(pids))] == [1, 3]


def test_a_worker_writes_no_file_and_leaves_signals_to_its_user(
    pool: DecodePool, tmp_path: Path
) -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        pool.call(signal.raise_signal, stop).result()
    with pytest.raises(MediaError, match="crashed"):
        pool.call(Path.write_bytes, tmp_path / "x", b"data").result()
    assert (tmp_path / "x").read_bytes() == b""


def test_opencv_in_a_worker_has_its_limits(pool: DecodePool) -> None:
    assert pool.call(os.getenv, "OPENCV_IO_MAX_IMAGE_PIXELS").result() == "60000000"
    options = pool.call(os.getenv, "OPENCV_FFMPEG_CAPTURE_OPTIONS").result()
    assert options is not None
    assert options.startswith("format_whitelist;")


def test_a_killed_fork_server_costs_nothing() -> None:
    with DecodePool(1) as pool:
        pool.call(os.getpid).result()
        server = forkserver._forkserver._forkserver_pid
        os.kill(server, signal.SIGKILL)
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
        assert pool.call(os.getppid).result() != server


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    for name in ("numpy", "socket", "edge", "signal", "cv2"):
        (tmp_path / "inbox" / f"{name}.py").write_text(
            "import os\nos.close(os.open('../been here', os.O_CREAT))\nraise SystemExit\n"
        )
    program = tmp_path / "main.py"
    program.write_text(
        "import os\n"
        "from edge.decoding.guard import DecodePool\n"
        "with DecodePool(1) as pool:\n"
        "    print(pool.call(os.getcwd).result())\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path / "inbox", capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout
    assert not (tmp_path / "been here").exists()


def test_ctrl_c_while_the_server_loads_is_for_its_user_alone(tmp_path: Path) -> None:
    program = tmp_path / "main.py"
    program.write_text(
        "import os, signal, time\n"
        "from multiprocessing import forkserver\n"
        "from edge.decoding.server import start_server\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"  # an exec resets it, SIG_IGN it keeps
        "start_server()\n"
        "for _ in range(10):\n"
        "    time.sleep(0.02)\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "from edge.decoding.guard import DecodePool\n"
        "with DecodePool(1) as pool:\n"
        "    parent = pool.call(os.getppid).result()\n"
        "print(parent == forkserver._forkserver._forkserver_pid)\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, start_new_session=True
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_worker_that_cannot_start_is_no_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.decoding.guard._serve", _end_at_once)
    with DecodePool(1) as pool, pytest.raises(InstallError, match="does not start"):
        pool.submit(GOOD, WANTED).result()


def _end_at_once(connection: object) -> None:
    del connection


def test_nothing_is_left_after_close() -> None:
    threads = threading.active_count()
    with DecodePool(2) as pool:
        pids = {pool.call(os.getpid).result() for _ in range(8)}
        pool.call(time.sleep, 60)
    assert threading.active_count() == threads
    for pid in pids:
        assert not Path(f"/proc/{pid}/cmdline").exists() or _gone(pid)
    pool.close()


def test_a_pool_that_decodes_nothing_starts_nothing() -> None:
    threads = threading.active_count()
    with DecodePool(4):
        assert threading.active_count() == threads


def test_no_worker_survives_its_users_death(tmp_path: Path) -> None:
    program = tmp_path / "main.py"
    program.write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('runs').open('a').write('x')\n"  # a main program run again would add to it
        "from edge.decoding.guard import DecodePool\n"
        "pool = DecodePool(1)\n"
        "print(pool.call(os.getpid).result(), flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    assert _gone(worker)
    assert (tmp_path / "runs").read_text() == "x"


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
