"""Media on their way through the record: claimed, released, failed, quarantined, freed."""

from __future__ import annotations

import json

import pytest

from edge.record import store_media
from edge.record.store import open_store
from edge.record.store_media import MAX_ATTEMPTS

from .conftest import age, draw, save
from .filled import claim, found, record, sha_of


def find_known(store, file):
    return store_media.find_all_known(store, [file]).get(file.path)


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "edge.db")
    yield opened
    opened.close()


def _media(store):
    return store.execute("SELECT state, attempts, reason FROM media")


def test_media_keep_their_order_of_arrival_and_what_the_clock_was_worth(store):
    claim(store, 7, clock_trusted=False)
    claim(store, 3, clock_trusted=True)
    claim(store, 5, clock_trusted=None)
    rows = store.execute("SELECT seq, boot_id, clock_trusted, num_bytes FROM media ORDER BY seq")
    assert rows == [(1, "boot", 0, 1007), (2, "boot", 1, 1003), (3, "boot", None, 1005)]


def test_what_was_decoded_is_remembered(store):
    claim(store, 1)
    record(store, 1)
    rows = store.execute("SELECT kind, utc_offset_minutes, camera, damage FROM media")
    assert rows == [("image", 120, "S123", None)]


def test_an_attempt_that_a_full_disk_ended_does_not_count(store):
    for _ in range(10):
        claim(store, 1)
        with store.transaction():
            store_media.release(store, [sha_of(1)])
    assert _media(store) == [("claimed", 0, None)]


def test_a_file_that_crashes_its_worker_is_quarantined_the_third_time(store):
    states = []
    for _ in range(MAX_ATTEMPTS):
        claim(store, 1)
        with store.transaction():
            states.append(
                store_media.fail(store, sha_of(1), [found(1)], "memory", "it needed too much")
            )
    assert states == ["claimed", "claimed", "quarantined"]
    assert _media(store) == [("quarantined", 3, "memory")]
    assert store.execute("SELECT detail FROM quarantine") == [("it needed too much, 3 times",)]


@pytest.mark.parametrize("num_asked_one_by_one", [5000, 0])
def test_all_known_files_are_found_at_once(store, monkeypatch, num_asked_one_by_one):
    monkeypatch.setattr(store_media, "_MANY_FILES", num_asked_one_by_one)
    claim(store, 1, 2)
    record(store, 2)
    with store.transaction():
        store_media.add_quarantine(store, found(3), None, "unreadable", "no right")
    files = [found(one) for one in (1, 2, 3, 4)]
    known = store_media.find_all_known(store, files)
    assert {path: one.state for path, one in known.items()} == {
        files[0].path: "claimed", files[1].path: "done", files[2].path: "quarantined",
    }  # fmt: skip
    assert find_known(store, files[1]) == known[files[1].path]
    assert find_known(store, files[3]) is None


def test_quarantine_is_listed_and_freed_by_name_reason_or_all(known, tmp_path):
    for name, data in (("a.jpg", b""), ("b.jpg", b"no picture"), ("c.jpg", b"nor this")):
        (known.inbox / name).write_bytes(data)
        age(known.inbox / name)
    save(known.inbox / "good.jpg", draw("A", shot=7))
    impatient = tmp_path / "edge.toml"
    impatient.write_text("max_wait_seconds = 60\n")  # by then an empty file is given up
    known.watch("--config", str(impatient))
    state = ("--state", str(known.state))
    listed = known.run("admin", "quarantine", "list", "--json", *state).out.splitlines()
    rows = {row["display"]: row for row in map(json.loads, listed)}
    assert {row["reason"] for row in rows.values()} == {"empty", "type"}
    assert rows[str(known.inbox / "b.jpg")]["num_bytes"] == 10

    (known.inbox / "a.jpg").unlink()
    ran = known.run("admin", "quarantine", "retry", str(known.inbox / "b.jpg"), *state)
    assert "1 file will be read again" in ran.out
    assert "1 quarantined" in known.watch().out  # it is as bad as before
    ran = known.run("admin", "quarantine", "retry", "--reason", "type", *state)
    assert "2 files will be read again" in ran.out
    assert "0 new frames, 0 events" in known.watch().out
    ran = known.run("admin", "quarantine", "retry", "--all", *state)
    assert "3 files will be read again" in ran.out
    ran = known.run("admin", "quarantine", "retry", str(known.inbox / "good.jpg"), *state)
    assert (ran.code, "not in quarantine" in ran.out) == (1, True)
    ran = known.run("admin", "quarantine", "retry", *state)
    assert "--reason REASON, or --all" in ran.err


def test_a_freed_file_gets_all_its_attempts_again(store):
    for _ in range(MAX_ATTEMPTS):
        claim(store, 1)
    with store.transaction():
        store_media.fail(store, sha_of(1), [found(1)], "crashed", "it ended its worker")
        assert store_media.free_quarantined(store, None, "crashed") == [found(1).display]
    assert _media(store) == [("claimed", 0, None)]
    assert find_known(store, found(1)).state == "claimed"
