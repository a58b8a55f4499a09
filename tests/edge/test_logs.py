"""What is said: lines for people, lines for programs, floods."""

from __future__ import annotations

import io
import json

import pytest

from edge.config import LogFormat
from edge.operation.logs import Log

HOSTILE = [
    "a\nb",
    "\x1b[2J",
    "\u202ejpg.exe",
    "\udcff\udcfe.jpg",
    'quote " and \\',
    "%s %n {0}",
    "<img onerror=1>",
    "\u2028\u2029\x85\x00",
    "x" * 100_000,
]


class Clock:
    seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


class Said:
    """A log over two streams in memory."""

    def __init__(self, form: LogFormat) -> None:
        self.clock, self.out, self.err = Clock(), io.StringIO(), io.StringIO()
        self.log = Log(form, self.clock, self.out, self.err)

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


def test_for_people_it_is_the_sentence_alone_and_warnings_go_to_stderr():
    said = Said(LogFormat.text)
    said.log("12:00  river  3 frames  MATCH  Ada 0.912")
    said.log.warn("disk-full", "the disk is full", free_bytes=12)
    said.log.error("io", "the disk fails")
    assert said.out.getvalue() == "12:00  river  3 frames  MATCH  Ada 0.912\n"
    assert said.err.getvalue() == "warning: the disk is full\nerror: the disk fails\n"


def test_for_programs_each_event_is_a_mapping():
    said = Said(LogFormat.json)
    said.log("one", "sighting", deployment_id="river")
    said.log.warn("disk-full", "two", free_bytes=12, share=float("nan"), level="mine")
    first, second = said.records()
    assert (first["level"], first["event"], first["message"]) == ("info", "sighting", "one")
    assert first["deployment_id"] == "river"
    assert second == {
        "time": second["time"],
        "level": "warning",
        "event": "disk-full",
        "message": "two",
        "free_bytes": 12,
        "share": "nan",
    }
    assert said.err.getvalue() == ""


@pytest.mark.parametrize("form", list(LogFormat))
@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_one_printable_line(form, name):
    said = Said(form)
    said.log(f"in {name}")
    said.log.warn("kind", name, file=name)
    lines = said.out.getvalue().splitlines() + said.err.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 20_000 for line in lines)
    if form is LogFormat.json:
        assert all(record["message"].isprintable() for record in said.records())
        said.out.getvalue().encode("utf-8")


def test_a_flood_of_100_000_is_a_few_lines_that_say_how_many():
    said = Said(LogFormat.text)
    for number in range(100_000):
        said.clock.seconds += 0.001  # 100 s: one whole minute and the start of a second
        said.log.warn("unreadable", f"file {number} cannot be read")
    said.log.warn("disk-full", "another kind is not held back")
    said.log.close()
    lines = said.err.getvalue().splitlines()
    assert len(lines) == 2 * (10 + 1) + 1
    summed = [int(line.split()[2].replace(",", "")) for line in lines if " more like it " in line]
    assert sum(summed) + 20 == 100_000
    assert "warning: another kind is not held back" in lines


def test_a_minute_that_is_over_is_summed_up_without_another_event():
    said = Said(LogFormat.json)
    for _ in range(1244):
        said.log.warn("unreadable", "a file cannot be read")
    said.log.flush()
    assert len(said.records()) == 10
    said.clock.seconds += 60
    said.log.flush()
    *_, last = said.records()
    assert (last["message"], last["left_out"]) == (
        "and 1,234 more like it in the last minute",
        1234,
    )


def test_what_was_asked_for_is_never_held_back():
    said = Said(LogFormat.text)
    for number in range(5000):
        said.log(f"sighting {number}")
    assert len(said.out.getvalue().splitlines()) == 5000


def test_a_log_that_cannot_be_written_stops_nobody_and_says_so_later():
    class Full(io.StringIO):
        is_full = True

        def write(self, text: str) -> int:
            if self.is_full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    out = Full()
    log = Log(LogFormat.json, Clock(), out, out)
    for _ in range(3):
        log("lost")
    assert log.num_lost == 3
    out.is_full = False
    log("back")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["message"], second["lost"]) == ("back", 3)
    assert log.num_lost == 0
