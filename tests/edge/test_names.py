"""Sixty hostile names go through, and come out escaped wherever they are shown."""

from __future__ import annotations

import csv
import html
import io
import os
import re
import unicodedata
from pathlib import Path

import cv2
import pytest

from edge.text import printable, safe_cell

from .conftest import age, draw

ANIMAL = cv2.imencode(".jpg", draw("A", shot=7))[1].tobytes()
NAMES = [
    name if isinstance(name, bytes) else name.encode()
    for name in (
        # line ends and other control characters
        "a\nb", "a\r\nb", "\n", "a\tb", "a\x0bb", "a\x0cb", "\x01\x02", "a\x7fb", "\x85", "\u2028",
        # terminals
        "\x1b[2J", "\x1b]0;title\x07", "\x1b[31mred", "\x9b31m", "a\rb", "a\x08\x08b", "\x1bc",
        # writing direction, invisible characters
        "\u202egpj", "\u202a\u202b\u202c\u202d", "\u2066x\u2069", "\u2067x\u2068", "\u200bzero",
        "\ufeffmark", "\u00adsoft", "\U000e0041tag", "\u200fright", "e\u0301\u0302\u0303\u0304",
        # bytes that are not UTF-8
        b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\x80abc", b"\xf8\x88\x80\x80\x80",
        b"caf\xe9", b"\xff" * 100,
        # shells, formats, paths
        "-rf", "--help", "$(reboot)", "`reboot`", "a;reboot", "a|b", "a&b", "*", "?", "~", "a b",
        " lead", "%s%n%x", "%00", "{0.__class__}", "a..%2f..%2fetc", "x...", "\\..\\x", "img_%03d",
        # tables and pages
        "=cmd()", "+1+1", "@SUM(A1)", "＝1", "<img src=x onerror=alert(1)>", "\"'><script>",
        "&amp;", "]]>", "'; DROP TABLE media;--", "long" * 60,
    )
]  # fmt: skip


def test_there_are_sixty():
    assert len(set(NAMES)) >= 60


def _lay(folder: Path, name: bytes, number: int) -> bytes:
    """The file's whole name; the pictures differ in a trailing comment."""
    path = os.fsencode(folder) + b"/" + name + b".jpg"
    Path(os.fsdecode(path)).write_bytes(ANIMAL + b"%d" % number)
    age(Path(os.fsdecode(path)))
    return path


def _shows_nothing_raw(text: str) -> bool:
    """Lines and printable characters only: nothing that moves a cursor or turns text around."""
    return all(one.isprintable() or one == "\n" for one in text)


@pytest.fixture
def hostile(known):
    """The names as pictures, as cameras (folders), and as files that are no pictures."""
    for number, name in enumerate(NAMES):
        _lay(known.inbox, name, number)
        camera = known.inbox / os.fsdecode(name)
        camera.mkdir()
        (camera / "bad.jpg").write_bytes(b"no picture")
        age(camera / "bad.jpg")
    return known


def test_hostile_names_go_through_and_are_shown_escaped(hostile, tmp_path):
    ran = hostile.watch("--after", "move")
    assert ran.code == 0, ran.err
    assert _shows_nothing_raw(ran.out)
    rows = hostile.rows("media")
    seen = [row for row in rows if row["state"] == "done"]
    assert len(seen) == len(NAMES)
    assert len([row for row in rows if row["reason"] == "type"]) == len(NAMES)
    # Nothing lies elsewhere than under a hash in the archive.
    archived = [one.name for one in (hostile.state / "archive").rglob("*") if one.is_file()]
    assert len(archived) == len(NAMES)
    assert all(re.fullmatch(r"[0-9a-f]{64}\.jpg", name) for name in archived)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["inbox", "known", "state"]


def test_tables_lists_and_pages_show_no_raw_name(hostile, tmp_path):
    hostile.watch()
    state = ("--state", str(hostile.state))
    for level in ("media", "event"):
        ran = hostile.run("report", "csv", "--level", level, *state)
        assert _shows_nothing_raw(ran.out)
        cells = [cell for row in csv.reader(io.StringIO(ran.out)) for cell in row]
        assert not [cell for cell in cells if re.match(r"[=+@＝\t\r]|-[^\d]", cell)]
    assert _shows_nothing_raw(hostile.run("admin", "quarantine", "list", *state).out)
    page = tmp_path / "page.html"
    assert hostile.run("report", "html", "--out", str(page), *state).code == 0
    shown = page.read_text(encoding="utf-8")
    assert "<script" not in shown
    assert "<img src=x" not in shown
    assert {one for one in shown if not one.isprintable()} <= {"\n"}
    assert html.escape("<img src=x onerror=alert(1)>") in shown


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_what_is_printable_has_neither_controls_nor_marks_of_direction(name):
    shown = printable(os.fsdecode(name))
    assert shown.encode("utf-8")
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_different_names_stay_different():
    assert printable("\U000e0041") == r"\U000e0041"
    assert printable("\ue0041") == r"\ue0041"[:6] + "1"
    assert len({printable(os.fsdecode(name)) for name in NAMES}) == len(set(NAMES))


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\n=1", "＝1", "＠a"])
def test_a_table_cell_is_no_formula(text):
    assert safe_cell(text) == "'" + text
