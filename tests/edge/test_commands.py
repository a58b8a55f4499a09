"""The four commands as a newcomer meets them, and what they write."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import signal
import time

import pytest

from edge.commands import admin, gallery, report, watch
from edge.record.store_report import EVENT_COLUMNS, MEDIA_COLUMNS
from edge.text import printable, safe_cell

from .conftest import draw, save, start, write_model

FIRST_MEDIA_COLUMNS = (
    "file_path sha256 timestamp deployment_id event_id detection_id best_individual best_name "
    "best_similarity runner_up runner_up_name runner_up_similarity decision encoder_id"
).split()
FIRST_EVENT_COLUMNS = (
    "event_id deployment_id start end num_frames decision individual_id name similarity runner_up "
    "runner_up_name runner_up_similarity"
).split()


def test_the_tables_begin_with_the_columns_checks_rely_on(known):
    save(known.inbox / "1.jpg", draw("A", shot=7))
    known.watch()
    for level, first, columns in (
        ("media", FIRST_MEDIA_COLUMNS, MEDIA_COLUMNS),
        ("event", FIRST_EVENT_COLUMNS, EVENT_COLUMNS),
    ):
        found = list(known.rows(level)[0])
        assert found[: len(first)] == first
        assert found == list(columns)
    (row,) = known.rows("media")
    assert len(row["best_similarity"].split(".")[1]) == 6
    assert row["file_path"] == str(known.inbox / "1.jpg")


def test_a_name_that_is_a_formula_is_no_formula_in_the_table(known, tmp_path):
    save(tmp_path / "more" / "=cmd()" / "1.jpg", draw("F", shot=1))
    known.enroll(tmp_path / "more")
    save(known.inbox / "@cam" / "1.jpg", draw("F", shot=2))
    known.watch()
    (event,) = known.rows("event")
    assert (event["name"], event["deployment_id"]) == ("'=cmd()", "'@cam")


def test_names_from_outside_cannot_steer_the_terminal(known, tmp_path):
    save(tmp_path / "more" / "evil\x1b[2J\u202e" / "1.jpg", draw("F", shot=1))
    known.enroll(tmp_path / "more")
    save(known.inbox / "cam\n\x07" / "1.jpg", draw("F", shot=2))
    ran = known.watch()
    assert "\x1b" not in ran.out
    assert r"cam\x0a\x07  1 frame  MATCH  evil\x1b[2J\u202e 0." in ran.out


@pytest.mark.parametrize(
    ("text", "shown"),
    [("Löwe 3", "Löwe 3"), ("a\tb", r"a\x09b"), ("\udcff", r"\xff"), ("\u202e", r"\u202e")],
)
def test_what_cannot_be_printed_is_escaped(text, shown):
    assert printable(text) == shown


def test_only_formulas_are_guarded():
    assert [safe_cell(one) for one in ("a=b", "=a", "-a", "3")] == ["a=b", "'=a", "'-a", "3"]


@pytest.mark.parametrize("command", ["watch", "gallery", "report", "admin"])
def test_help_and_version(run, command):
    assert run(command, "--version").out.split() == ["fancl", importlib.metadata.version("fancl")]
    ran = run(command, "--help")
    assert ran.code == 0
    assert "Example: edge-" in ran.out


def test_no_model_says_how_to_get_one(run, tmp_path, monkeypatch):
    (tmp_path / "inbox").mkdir()
    ran = run("watch", str(tmp_path / "inbox"), "--once", "--state", str(tmp_path / "state"))
    assert ran.code == 1
    assert "fancl-export RUN --onnx" in ran.err
    assert "edge-admin model install" in ran.err


def test_an_installed_model_is_used(known):
    ran = known.run("admin", "model", "install", str(known.model), "--state", str(known.state))
    assert ran.code == 0, ran.err
    ran = known.run("watch", str(known.inbox), "--once", "--state", str(known.state))
    assert ran.code == 0, ran.err


def test_a_model_that_the_gallery_cannot_use_is_not_installed_unless_forced(known, tmp_path):
    def install(model, *flags):
        words = ("model", "install", str(model), "--state", str(known.state), *flags)
        return known.run("admin", *words)

    assert install(known.model).code == 0
    other = write_model(tmp_path / "other.onnx", seed=1)
    ran = install(other)
    assert ran.code == 1
    assert "not installed: the gallery in" in ran.err and "--force" in ran.err
    assert (known.state / "model.onnx").read_bytes() == known.model.read_bytes()
    ran = install(other, "--force")
    assert ran.code == 0, ran.err
    assert f"the model before it is kept as {known.state / 'model.previous.onnx'}" in ran.out
    assert (known.state / "model.onnx").read_bytes() == other.read_bytes()
    assert (known.state / "model.previous.onnx").read_bytes() == known.model.read_bytes()


def test_the_same_model_twice_keeps_the_one_before_both(device, tmp_path):
    other = write_model(tmp_path / "other.onnx", seed=1)
    for model in (device.model, other, other):
        device.run("admin", "model", "install", str(model), "--state", str(device.state))
    previous = (device.state / "model.previous.onnx").read_bytes()
    assert previous == device.model.read_bytes()


def test_an_empty_or_missing_model_is_a_sentence(device, tmp_path):
    empty = tmp_path / "empty.onnx"
    empty.touch()
    for model, told in ((empty, "is empty (zero bytes); copy it again"), (tmp_path, "a directory")):
        ran = device.run("admin", "model", "install", str(model), "--state", str(device.state))
        assert ran.code == 1
        assert told in ran.err and "--model" not in ran.err


def test_what_may_not_be_read_is_left_to_our_own_sentences(known, tmp_path, monkeypatch):
    """Else the option parser refuses it first, in a box and in words of its own."""
    save(known.inbox / "1.jpg", draw("A", shot=7))
    page, settings, boxes = (tmp_path / name for name in ("page.html", "edge.toml", "boxes.json"))
    page.touch()
    settings.touch()
    boxes.write_text('{"images": [{"file": "1.jpg", "detections": []}]}')
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    state = ("--state", str(known.state))
    for ran in (
        known.watch("--config", str(settings), "--boxes", str(boxes)),
        known.enroll(tmp_path / "known"),
        known.run("gallery", "list", *state),
        known.run("admin", "model", "info", str(known.model)),
        known.run("admin", "model", "install", str(known.model), *state),
        known.run("admin", "quarantine", "list", *state),
        known.run("report", "csv", *state),
        known.run("report", "html", "--out", str(page), *state),
    ):
        assert ran.code == 0, ran.err


@pytest.mark.parametrize("app", [watch.app, gallery.app, report.app, admin.app])
def test_a_crash_prints_a_plain_traceback(app):
    assert not app.pretty_exceptions_enable


def test_a_place_this_user_may_not_use_is_a_sentence(device, monkeypatch):
    really_stat = os.stat

    def refuse(path, *args, **kwargs):  # as for an ordinary user; root may look everywhere
        if str(path) == str(device.state / "edge.db"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really_stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    ran = device.run("report", "csv", "--state", str(device.state))
    assert ran.code == 1
    assert ran.err.startswith(f"error: this user may not use {device.state / 'edge.db'} (Perm")


def test_an_inbox_that_is_not_there_or_no_folder_is_a_sentence(device, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for inbox, told in ((tmp_path / "none", "does not exist"), (file, "is not a folder")):
        ran = device.run("watch", str(inbox), "--state", str(device.state))
        assert (ran.code, ran.out) == (1, "")
        assert told in ran.err and "Traceback" not in ran.err


def test_a_state_folder_inside_the_inbox_is_refused(device):
    ran = device.watch("--state", str(device.inbox / "state"))
    assert ran.code == 1
    assert "its own crops would be taken for new pictures" in ran.err


def test_a_report_before_anything_was_seen_is_a_sentence(run, tmp_path):
    ran = run("report", "csv", "--state", str(tmp_path))
    assert ran.code == 1
    assert "holds no sightings yet" in ran.err


def test_a_table_goes_into_a_file(known, tmp_path):
    save(known.inbox / "1.jpg", draw("A", shot=7))
    known.watch()
    ran = known.run("report", "csv", "--out", str(tmp_path / "t.csv"), "--state", str(known.state))
    assert ran.code == 0
    assert (tmp_path / "t.csv").read_text().splitlines()[0].startswith("event_id,deployment_id")
    ran = known.run(
        "report", "csv", "--out", str(tmp_path / "no" / "t.csv"), "--state", str(known.state)
    )
    assert ran.code == 1
    assert "cannot write" in ran.err


def test_the_page_shows_the_event_beside_the_exemplars(known, tmp_path):
    save(known.inbox / "cam1" / "1.jpg", draw("A", shot=7), "2026-05-01 06:30:00")
    known.watch()
    out = tmp_path / "page.html"
    ran = known.run("report", "html", "--out", str(out), "--state", str(known.state))
    assert ran.code == 0, ran.err
    page = out.read_text()
    assert page.count("data:image/jpeg;base64,") == 5  # one crop, two exemplars of each side
    assert "Known:" in page and "cam1" in page
    assert "from the model (labels), not from your animals" in page


def test_ctrl_c_is_told_and_loses_nothing(known):
    process = start(
        "watch", str(known.inbox), "--state", str(known.state), "--model", str(known.model)
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "nothing is lost" in err
    assert "Traceback" not in err
