"""Bytes of the database change while nobody looks: the start tells, or nothing is different."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import apsw
import pytest

from . import harness
from .harness import FULL, Ledger, Place, make_place, pictures

NUM_FILES = 40
NUM_OFFSETS = 200 if FULL else 20
ZEROED_BYTES = 512  # a sector
TABLES = ("media", "media_path", "quarantine", "event", "detection", "observation")
# What a second run over the same pictures makes anew.
MADE_ANEW = ("event_id", "observation_id", "detection_id", "seq", "attempts", "boot_id",
    "individual_id", "best_individual_id", "runner_up_id",
)  # fmt: skip
# Who is like a provisional animal depends on the order in which pictures are looked at again.
DECIDED = (
    "decision", "best_similarity", "runner_up_similarity", "statistic_value", "probability",
)  # fmt: skip
TIMES = ("captured_at", "start_at", "end_at")  # of the cameras; all other times are of the run


def content(place: Place, leave_out: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Every row of these tables, but for what only tells when and how often the program ran."""
    with harness.reading(place) as database:
        return {table: _rows(database, table, leave_out) for table in TABLES}


def _rows(database: apsw.Connection, table: str, leave_out: tuple[str, ...]) -> list[str]:
    names = [name for (name,) in database.execute(f"SELECT name FROM pragma_table_info('{table}')")]
    kept = [
        name
        for name in names
        if name not in (*MADE_ANEW, *leave_out) and (name in TIMES or not name.endswith("_at"))
    ]
    rows = database.execute(f"SELECT {', '.join(kept)} FROM {table}")
    return sorted(repr(tuple(map(_rounded, row))) for row in rows)


def _rounded(value: object) -> object:
    """The last digit of a mean depends on the order its frames came in."""
    return round(value, 9) if isinstance(value, float) else value


def damage(path: Path, offset: int, how: str) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        if how == "one bit":
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 0x10]))
        else:
            file.write(bytes(min(ZEROED_BYTES, path.stat().st_size - offset)))


def outcome_of(place: Place, whole: dict[str, list[str]], leave_out: tuple[str, ...] = ()) -> str:
    """'detected', 'restored', 'harmless' or 'silent', after a start on the damaged database."""
    ran = harness.run_once(place)
    assert "Traceback" not in ran.said, ran.said
    if ran.code != 0:
        assert ran.code == 1, ran.said
        assert "damaged" in ran.said or "database" in ran.said, ran.said
        return "detected"
    try:
        same = content(place, leave_out) == whole
    except (apsw.Error, UnicodeDecodeError):
        same = False
    if "restored" in ran.said:
        assert same, ran.said
        return "restored"
    return "harmless" if same else "silent"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A device that is done with its pictures, and whose database is one file."""
    place = make_place(tmp_path_factory.mktemp("whole") / "device")
    for number, jpeg in enumerate(pictures(NUM_FILES)):
        harness.put(place.inbox, number, jpeg)
    harness.finish(place)
    connection = apsw.Connection(str(place.database))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return place


@pytest.mark.fault
@pytest.mark.timeout(24 * 3600 if FULL else 600)
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            "database",
            marks=pytest.mark.xfail(strict=False, reason="SQLite has no checksums of its rows"),
        ),
        "log",
    ],
)
def test_damage_is_detected_or_harmless(tmp_path: Path, filled: Place, what: str) -> None:
    seed = harness.seed_of(f"damaged {what}")
    leave_out = DECIDED if what == "log" else ()
    if what == "log":  # as a kill leaves it: the pictures of the last batches are only there
        filled = killed_with_a_log(tmp_path / "killed")
    whole = content(filled, leave_out)
    ledger = Ledger(f"damaged-{what}")
    outcomes: Counter[str] = Counter(row["outcome"] for row in ledger.rows() if FULL)
    for number in range(ledger.num_done(), NUM_OFFSETS // 2):
        rng = random.Random(seed + number)
        copy = harness.copied(filled, tmp_path / f"copy{number}")
        file = copy.database if what == "database" else copy.state / "edge.db-wal"
        offset = rng.randrange(file.stat().st_size)
        how = rng.choice(["one bit", "a sector of zeros"])
        damage(file, offset, how)
        outcome = outcome_of(copy, whole, leave_out)
        outcomes[outcome] += 1
        shutil.rmtree(copy.state)
        ledger.add(what=what, offset=offset, how=how, outcome=outcome, seed=seed + number)
    print(f"{what}: {dict(outcomes)}")
    assert outcomes["silent"] == 0


def killed_with_a_log(folder: Path) -> Place:
    place = make_place(folder)
    for number, jpeg in enumerate(pictures(NUM_FILES)):
        harness.put(place.inbox, number, jpeg)
    process = harness.start(place)
    try:
        assert harness.wait_until(lambda: harness.num_done_now(place) == NUM_FILES, 60)
    finally:
        harness.kill(process)
    assert (place.state / "edge.db-wal").stat().st_size > 0
    return place
