"""SIGKILL before every second write of a gallery command: it has happened, or it has not."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge import cli
from edge.encoder import open_encoder
from edge.gallery import gallery_log
from edge.record import store_gallery, store_log
from edge.record.store import Store, open_store

from ..edge.conftest import draw, save, write_model

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
_PICTURES = 36  # more than a batch
_STRIDE = 2  # every second place, so that it takes minutes


def _run(command: str, words: list[str], kill_at: int | None) -> int:
    """The command in a child that kills itself before its nth write; its wait status."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if kill_at is not None:
            _kill_before_write(kill_at)
        sys.argv = [f"edge-{command}", *words]
        try:
            getattr(cli, command)()
        except SystemExit as left:
            os._exit(int(left.code or 0))
        finally:
            os._exit(99)
    return os.waitpid(child, 0)[1]


def _kill_before_write(number: int) -> None:
    left = [number]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for owner, name in (
        (Store, "execute"),
        (Store, "execute_many"),
        (os, "fsync"),
        (Path, "replace"),
        (Path, "unlink"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))


def _killed_everywhere(command: str, words: list[str], start: Path, work: Path) -> Iterator[bool]:
    """Whether the command came through, once for each such write; the state lies in `work`."""
    for number in range(0, 100_000, _STRIDE):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(start, work)
        status = _run(command, words, number)
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) == 0, words
        yield not killed
        if not killed:
            print(f"\n{' '.join(words[:2])}: killed before every second of {number} writes")
            return


def _check(state: Path) -> tuple[int, int]:
    """Whole and consistent; how many entries and exemplars there are."""
    store = open_store(state / "edge.db")
    try:
        assert store.execute("PRAGMA integrity_check") == [("ok",)]
        assert store.execute("PRAGMA foreign_key_check") == []
        entries = store_log.entries(store)
        tables = store_log.load(store)
        assert gallery_log.replay(entries) == tables
        for one in tables.exemplars.values():
            assert (state / "crops" / f"{one.crop}.jpg").is_file()
        installed = state / "model.onnx"
        if installed.is_file():
            encoder_id = open_encoder(installed).manifest.encoder_id
            assert store_gallery.lacking(store, encoder_id) == []
        return len(entries), len(tables.exemplars)
    finally:
        store.close()


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A state with a model, a gallery of A, B and C with two visits each, and one sighting."""
    state, model = tmp_path / "start", write_model(tmp_path / "tiny.onnx")
    for animal in "ABC":
        for shot in (1, 2):
            taken = f"2026-04-0{shot} 12:00:00"
            save(tmp_path / "known" / animal / f"{shot}.jpg", draw(animal, shot=shot), taken)
    save(tmp_path / "inbox" / "1.jpg", draw("A", shot=7), "2026-05-01 06:30:00")
    flags = ["--state", str(state)]
    for command, words in (
        ("admin", ["model", "install", str(model)]),
        ("gallery", ["enroll", str(tmp_path / "known")]),
        ("watch", [str(tmp_path / "inbox"), "--once"]),
    ):
        assert _run(command, [*words, *flags], None) == 0
    return state


def test_a_kill_in_the_middle_of_a_change_leaves_before_or_after(start, tmp_path):
    work = tmp_path / "work"
    store = open_store(start / "edge.db")
    ((observation_id,),) = store.execute("SELECT observation_id FROM observation")
    store.close()
    before = _check(start)
    for words, num_exemplars in (
        (["rename", "A", "Luna"], 6),
        (["merge", "A", "B"], 6),
        (["retire", "C"], 6),
        (["confirm", observation_id], 7),
        (["assign", observation_id, "Nova", "--new"], 7),
        (["undo", "2"], 4),
    ):
        after = (before[0] + 1, num_exemplars)
        for came_through in _killed_everywhere(
            "gallery", [*words, "--state", str(work)], start, work
        ):
            assert _check(work) in ((after,) if came_through else (before, after)), words


def test_a_kill_in_the_middle_of_an_enrolment_leaves_all_or_nothing(start, tmp_path):
    for number in range(_PICTURES):
        save(tmp_path / "more" / "DE"[number % 2] / f"{number}.jpg", draw("D", shot=number))
    work = tmp_path / "work"
    words = ["enroll", str(tmp_path / "more"), "--state", str(work)]
    before = _check(start)
    after = (before[0] + 2, before[1] + _PICTURES)
    for came_through in _killed_everywhere("gallery", words, start, work):
        assert _check(work) in ((after,) if came_through else (before, after))


def test_a_kill_in_the_middle_of_an_import_leaves_all_or_nothing(start, tmp_path):
    file, empty, work = tmp_path / "gallery.zip", tmp_path / "empty", tmp_path / "work"
    assert _run("gallery", ["export", str(file), "--state", str(start)], None) == 0
    (empty / "crops").mkdir(parents=True)
    for came_through in _killed_everywhere(
        "gallery", ["import", str(file), "--state", str(work)], empty, work
    ):
        assert _check(work) in (((1, 6),) if came_through else ((0, 0), (1, 6)))


def test_a_kill_in_the_middle_of_a_change_of_the_model_leaves_one_that_works(start, tmp_path):
    new = write_model(tmp_path / "new.onnx", seed=1)
    work = tmp_path / "work"
    before = _check(start)
    for words in (["reembed", "--model", str(new)],):
        for came_through in _killed_everywhere(
            "gallery", [*words, "--state", str(work)], start, work
        ):
            assert _check(work) == before  # and its model knows the whole gallery
            if came_through:
                assert (work / "model.onnx").read_bytes() == new.read_bytes()
