"""What the fault tests share: a device as a process, pictures for it, and the truth about both.

All of it stays at the border: commands, files, and the tables of the database read afterwards.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import apsw

from ..edge.conftest import age, draw, save, write_model

FULL = os.environ.get("FULL") == "1"
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "fault"
KILLED = -signal.SIGKILL
SIDE = 48  # pixels of a drawn picture
NUM_CAMERAS = 3
FIRST_SHOT = datetime(2026, 1, 1)
_DATE = "%Y:%m:%d %H:%M:%S"  # as EXIF writes it; 19 bytes whatever the moment


def seed_of(test: str) -> int:
    """Another one each time, told so that a failure can be had again with FAULT_SEED=N."""
    seed = int(os.environ.get("FAULT_SEED") or random.randrange(10**6))
    print(f"\n{test}: FAULT_SEED={seed}")
    return seed


# --- a device


@dataclass(frozen=True, kw_only=True)
class Place:
    """One device: its folders, its model and its settings."""

    inbox: Path
    state: Path
    model: Path
    settings: Path
    log: Path  # what its commands said
    after: str

    def command(self, *flags: str) -> list[str]:
        return [
            sys.executable, "-c", "from edge import cli; cli.watch()", str(self.inbox),
            "--state", str(self.state), "--model", str(self.model),
            "--config", str(self.settings), "--after", self.after, *flags,
        ]  # fmt: skip

    @property
    def database(self) -> Path:
        return self.state / "edge.db"


def make_place(
    folder: Path, after: str = "keep", state: Path | None = None, inbox: Path | None = None
) -> Place:
    folder.mkdir(exist_ok=True)
    place = Place(
        inbox=inbox or folder / "inbox",
        state=state or folder / "state",
        model=write_model(folder / "tiny.onnx"),
        settings=folder / "edge.toml",
        log=folder / "log.txt",
        after=after,
    )
    place.inbox.mkdir(parents=True, exist_ok=True)
    place.settings.write_text("settle_seconds = 0.1\nrescan_seconds = 1.0\n")
    return place


def copied(place: Place, folder: Path) -> Place:
    """The same device with a state folder of its own."""
    shutil.copytree(place.state, folder / "state")
    return dataclasses.replace(place, state=folder / "state", log=folder / "log.txt")


def start(
    place: Place,
    *flags: str,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """edge-watch as a process, `before` its command line; what it says goes to the log."""
    with place.log.open("ab") as log:
        return subprocess.Popen(
            [*before, *place.command(*flags)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
        )


@dataclass(frozen=True, kw_only=True)
class Ran:
    code: int
    said: str


def run_once(
    place: Place,
    *flags: str,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 900,  # a busy machine is no hang
) -> Ran:
    said_before = place.log.stat().st_size if place.log.exists() else 0
    process = start(place, "--once", *flags, before=before, environment=environment)
    try:
        code = process.wait(timeout_seconds)
    finally:
        kill(process)
    text = place.log.read_bytes()[said_before:].decode(errors="replace")
    return Ran(code=code, said=text)


def finish(place: Place) -> None:
    """What a fault left over is taken up."""
    ran = run_once(place)
    assert ran.code == 0, ran.said


def finish_and_idle(place: Place) -> None:
    """The same, and a second run that finds nothing to do."""
    finish(place)
    ran = run_once(place)
    assert ran.code == 0, ran.said
    idle = ("no pictures in", "done: 0 new frames")
    assert any(words in ran.said for words in idle), ran.said


def start_seconds(place: Place) -> float:
    """How long a run over an empty inbox takes on this machine now."""
    began = time.monotonic()
    ran = run_once(place)
    assert ran.code == 0, ran.said
    return time.monotonic() - began


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process and all it started, at once, without warning."""
    everybody = [*descendants(process.pid), process.pid]
    for pid in everybody:
        signal_to(pid, signal.SIGKILL)
    process.wait()


def kill_alone(process: subprocess.Popen[bytes]) -> set[tuple[int, str]]:
    """Kills the process but not what it started: those are given back, as (pid, birth)."""
    left = {(pid, birth_of(pid)) for pid in descendants(process.pid)}
    process.kill()
    process.wait()
    return left


def birth_of(pid: int) -> str:
    """When it was started, in ticks since the system was; '' where it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if words[0] == "Z" else words[19]


def descendants(pid: int) -> list[int]:
    """The processes that it started, and those that they started."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, _read(tasks).split()):
            found += [child, *descendants(child)]
    return found


def decoders(pid: int) -> list[int]:
    """The processes that decode: started by a helper of the device, not by itself."""
    children = [int(word) for word in _read(Path(f"/proc/{pid}/task/{pid}/children")).split()]
    return sorted(set(descendants(pid)) - set(children))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def signal_to(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:  # it was quicker
        return


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def strace() -> str | None:
    """None where there is none or it may not trace."""
    path = shutil.which("strace")
    works = path and subprocess.run([path, "-o", os.devnull, "true"], capture_output=True)
    return path if works and works.returncode == 0 else None


# --- pictures


@cache
def _drawing(number: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        image = draw("ABCDEFGH"[number // 12 % 8], shot=number, side=SIDE)
        return save(Path(folder) / "a.jpg", image, taken=FIRST_SHOT.isoformat()).read_bytes()


def picture(number: int, num_drawings: int = 10**9) -> bytes:
    """A JPEG unlike any other number's: by its pixels up to num_drawings, then by its time.

    Bursts of four frames at each of three cameras, five minutes apart.
    """
    moment = FIRST_SHOT + timedelta(seconds=300 * (number // 12) + 10 * (number % 12))
    data = _drawing(number % num_drawings)
    return data.replace(FIRST_SHOT.strftime(_DATE).encode(), moment.strftime(_DATE).encode())


def pictures(count: int, first: int = 0) -> list[bytes]:
    return [picture(number) for number in range(first, first + count)]


def name_of(number: int) -> str:
    return f"cam{number % NUM_CAMERAS}/IMG_{number:06d}.jpg"


def put(inbox: Path, number: int, jpeg: bytes) -> Path:
    """A picture that lies there whole, and has for long."""
    target = inbox / name_of(number)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".in.{target.name}")
    temporary.write_bytes(jpeg)
    age(temporary)
    temporary.rename(target)
    return target


@contextmanager
def feeding(
    inbox: Path, jpegs: Sequence[bytes], rng: random.Random, seconds: float
) -> Iterator[threading.Thread]:
    """Pictures arrive while the block runs; it is left when all of them are there."""
    feeder = threading.Thread(target=_feed, args=(inbox, jpegs, rng, seconds))
    feeder.start()
    try:
        yield feeder
    finally:
        feeder.join()


def _feed(inbox: Path, jpegs: Sequence[bytes], rng: random.Random, seconds: float) -> None:
    """As uploads arrive: most by a temporary name, every fifth slowly under its own."""
    for number, jpeg in enumerate(jpegs):
        if number % 5:
            put(inbox, number, jpeg)
            time.sleep(rng.uniform(0, 2 * seconds / len(jpegs)))
            continue
        target = inbox / name_of(number)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb", buffering=0) as file:
            for piece in range(0, len(jpeg), len(jpeg) // 3 + 1):
                file.write(jpeg[piece : piece + len(jpeg) // 3 + 1])
                time.sleep(0.02)


# --- the truth


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def reading(place: Place) -> Iterator[apsw.Connection]:
    """A copy of the database of a device that is not running, so that nothing of it is mended."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("edge.db", "edge.db-wal"):
            if (place.state / name).exists():
                shutil.copyfile(place.state / name, Path(folder) / name)
        connection = apsw.Connection(str(Path(folder) / "edge.db"))
        try:
            yield connection
        finally:
            connection.close()


def query(place: Place, sql: str, *values: str) -> list[tuple[Any, ...]]:
    """What a reader sees beside the device at work; nothing before there are tables."""
    if not place.database.is_file():
        return []
    connection = apsw.Connection(str(place.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(2000)
        return list(connection.execute(sql, values))
    except (apsw.SQLError, apsw.CantOpenError):
        return []
    finally:
        connection.close()


def done_now(place: Place) -> set[str]:
    return {row[0] for row in query(place, "SELECT sha256 FROM media WHERE state = 'done'")}


def num_done_now(place: Place) -> int:
    return sum(row[0] for row in query(place, "SELECT count(*) FROM media WHERE state = 'done'"))


def check(place: Place, jpegs: Sequence[bytes]) -> None:
    """Every picture is recorded exactly once, and the device has nothing left to do."""
    check_honest(place, jpegs)
    expected = sorted(sha256(jpeg) for jpeg in jpegs)
    with reading(place) as database:
        rows = list(database.execute("SELECT sha256, state FROM media ORDER BY sha256"))
        assert rows == [(one, "done") for one in expected], place.log
        assert list(database.execute("SELECT reason, detail FROM quarantine")) == []
        assert database.execute("SELECT count(*) FROM media_path").get == len(jpegs)
    left = [path for path in place.inbox.rglob("*.jpg") if path.is_file()]
    assert len(left) == (len(jpegs) if place.after == "keep" else 0)
    if place.after == "move":
        archived = sorted(path.stem for path in (place.state / "archive").rglob("*.jpg"))
        assert archived == expected
    assert list(place.state.rglob("*.tmp")) == []


def check_honest(
    place: Place,
    jpegs: Sequence[bytes],
    acknowledged: set[str] | frozenset[str] = frozenset(),
    files_remain: bool = True,
) -> None:
    """Whatever happened: nothing is recorded that is not so, nothing is lost, nothing double.

    `acknowledged`: media that were seen as done before, and still must be. Without files_remain
    the inbox itself may have lost files.
    """
    contents = {sha256(jpeg) for jpeg in jpegs}
    done: set[str] = set()
    if place.database.is_file():
        with reading(place) as database:
            assert database.execute("PRAGMA integrity_check").get == "ok"
            assert list(database.execute("PRAGMA foreign_key_check")) == []
            if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'media'").get:
                done = _check_rows(place, database, contents)
    assert acknowledged <= done, f"{len(acknowledged - done)} acknowledged media are lost"
    archived = _check_named_by_content(place.state / "archive", ".jpg")
    _check_named_by_content(place.state / "crops", ".jpg")
    assert archived <= done, "files were archived without a record"
    if files_remain and place.after != "delete":
        waiting = {sha256(path.read_bytes()) for path in place.inbox.rglob("*.jpg")}
        assert contents <= waiting | archived, f"{len(contents - waiting - archived)} files lost"


def _check_rows(place: Place, database: apsw.Connection, contents: set[str]) -> set[str]:
    """The media that are done, each with its one sighting and that sighting's crop."""
    states = dict(database.execute("SELECT sha256, state FROM media"))
    assert set(states) <= contents, "a medium that was never there whole"
    done = {one for one, state in states.items() if state == "done"}
    detections = list(database.execute("SELECT sha256, crop, observation_id FROM detection"))
    assert sorted(row[0] for row in detections) == sorted(done), "not one sighting a picture"
    for _, crop, observation in detections:
        assert observation is not None
        path = place.state / "crops" / f"{crop}.jpg"
        assert path.is_file(), f"the record names the crop {crop}, which is not there"
        assert sha256(path.read_bytes()) == crop
    disposed = database.execute(
        "SELECT disposed_to FROM media_path WHERE disposed_to LIKE 'archive/%'"
    )
    assert [name for (name,) in disposed if not (place.state / name).is_file()] == []
    assert _num_wrong_events(database) == 0
    return done


def _num_wrong_events(database: apsw.Connection) -> int:
    """Events that do not span just their detections, or hold frames of another camera."""
    found = database.execute(
        "SELECT count(*) FROM (SELECT event_id, start_at, end_at, min(captured_at) AS first, "
        "max(captured_at) AS last, min(event.deployment_id = media.deployment_id) AS own "
        "FROM event JOIN detection USING (event_id) JOIN media USING (sha256) "
        "GROUP BY event_id) WHERE start_at <> first OR end_at <> last OR NOT own"
    ).get
    assert isinstance(found, int)
    return found


def _check_named_by_content(folder: Path, suffix: str) -> set[str]:
    names = set()
    for path in folder.rglob(f"*{suffix}"):
        data = path.read_bytes()
        assert sha256(data) == path.stem, f"{path} has {len(data)} bytes of something else"
        names.add(path.stem)
    return names


# --- long runs go on where they stopped


class Ledger:
    """A table with one row for each finished part of a long run; only FULL runs keep one."""

    def __init__(self, name: str) -> None:
        self._path = RESULTS / f"{name}.csv"

    def num_done(self) -> int:
        return len(self.rows()) if FULL else 0

    def rows(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def add(self, **values: object) -> None:
        print("  ".join(f"{name} {value}" for name, value in values.items()), flush=True)
        if not FULL:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(values))
            if is_new:
                writer.writeheader()
            writer.writerow(values)
            file.flush()
            os.fsync(file.fileno())
