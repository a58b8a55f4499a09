"""The archive's files against the record."""

from __future__ import annotations

import os

import pytest

from edge.record.state import StateFolder
from edge.record.stock import take_stock
from edge.record.store import open_store

from .filled import claim, found, record, sha_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inbox").mkdir()
    return StateFolder(root=tmp_path / "state")


@pytest.fixture
def store(folder):
    folder.root.mkdir()
    opened = open_store(folder.database)
    yield opened
    opened.close()


def _archived(folder, number):
    path = folder.archive / "2026" / "05" / f"{sha_of(number)}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"picture")
    return path


def _names(store):
    return store.execute("SELECT display, disposed_to FROM media_path ORDER BY display")


def test_a_move_that_was_not_noted_is_noted(store, folder, tmp_path):
    claim(store, 1)
    record(store, 1)
    path = _archived(folder, 1)
    stock = take_stock(store, folder, tmp_path / "inbox")
    assert (stock.num_noted, stock.num_returned, stock.sentence) == (1, 0, None)
    assert _names(store) == [(found(1).display, os.path.relpath(path, folder.root))]
    assert take_stock(store, folder, tmp_path / "inbox").num_noted == 0


def test_a_file_without_a_record_goes_back_into_the_inbox(store, folder, tmp_path):
    path = _archived(folder, 2)
    stock = take_stock(store, folder, tmp_path / "inbox")
    assert (stock.num_noted, stock.num_returned) == (0, 1)
    assert "1 files of the archive have no record" in stock.sentence
    assert not path.exists()
    assert (tmp_path / "inbox" / "recovered" / path.name).read_bytes() == b"picture"


def test_a_file_without_a_record_stays_while_the_inbox_is_away(store, folder, tmp_path):
    path = _archived(folder, 2)
    assert take_stock(store, folder, tmp_path / "unmounted").num_returned == 0
    assert path.exists()


def test_half_a_copy_goes_and_strange_files_stay(store, folder, tmp_path):
    half = _archived(folder, 3).with_suffix(".jpg.tmp")
    half.write_bytes(b"pic")
    strange = half.with_name("notes.txt")
    strange.write_text("mine")
    take_stock(store, folder, tmp_path / "inbox")
    assert not half.exists()
    assert strange.exists()


def test_a_lost_record_is_made_anew_from_the_archive(known):
    from .conftest import draw, save

    save(known.inbox / "cam1" / "1.jpg", draw("A", shot=7))
    known.watch("--after", "move")
    for one in known.state.glob("edge.db*"):
        one.unlink()
    for one in (known.state / "crops").iterdir():
        one.unlink()
    ran = known.watch("--after", "move")
    assert "have no record" in ran.out + ran.err
    (row,) = known.rows("media")
    assert row["deployment_id"] == "recovered"
    assert row["disposed_to"].startswith("archive/")
    assert (known.state / row["disposed_to"]).is_file()
