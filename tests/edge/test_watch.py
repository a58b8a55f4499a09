"""A folder goes in, rows come out."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import cv2
import pytest

from edge.decoding.guard import DecodePool

from .conftest import DECISION, NO_DECISION, age, draw, save, start, write_model


def test_a_known_animal_gets_its_name_and_the_runner_up_is_told(known):
    save(known.inbox / "cam1" / "1.jpg", draw("A", shot=7), "2026-05-01 06:30:00")
    ran = known.watch()
    assert ran.code == 0, ran.err
    (event,) = known.rows("event")
    assert (event["decision"], event["name"], event["deployment_id"]) == ("match", "A", "cam1")
    assert event["start"] == "2026-05-01T06:30:00"
    assert float(event["similarity"]) > 0.8 > float(event["runner_up_similarity"])
    assert event["runner_up_name"] in {"B", "C"}
    (row,) = known.rows("media")
    assert (row["best_name"], row["decision"], row["time_source"]) == ("A", "match", "exif")
    assert row["event_id"] == event["event_id"]
    assert "cam1  1 frame  MATCH  A 0." in ran.out


def test_a_stranger_is_new_with_two_frames_and_left_to_review_with_one(known):
    save(known.inbox / "cam1" / "1.jpg", draw("X", shot=1), "2026-05-01 06:30:00")
    save(known.inbox / "cam1" / "2.jpg", draw("X", shot=2), "2026-05-01 06:30:05")
    save(known.inbox / "cam2" / "1.jpg", draw("Y", shot=1), "2026-05-01 06:30:00")
    known.watch()
    decisions = {row["deployment_id"]: row["decision"] for row in known.rows("event")}
    assert decisions == {"cam1": "new", "cam2": "review"}
    assert all(row["nearest_name"] in {"A", "B", "C"} for row in known.rows("event"))


def test_a_second_run_does_nothing_twice(known):
    save(known.inbox / "1.jpg", draw("A", shot=7))
    known.watch()
    before = known.rows("media"), known.rows("event")
    ran = known.watch()
    assert "done: 0 new frames" in ran.out
    assert (known.rows("media"), known.rows("event")) == before


def test_copies_in_batches_that_follow_each_other_are_one_medium(known):
    first = save(known.inbox / "1.jpg", draw("A", shot=7), "2026-05-01 06:30:01")
    for shot in range(2, 10):  # the next batch is decoded while the first is recorded
        save(known.inbox / f"{shot}.jpg", draw("A", shot=shot), f"2026-05-01 06:30:{shot:02}")
    for number in (6, 9):
        copy = known.inbox / f"{number}-copy.jpg"
        copy.write_bytes(first.read_bytes())
        age(copy)
    ran = known.watch()
    assert "not whole" not in ran.out
    rows = [row for row in known.rows("media") if row["file_path"].endswith(("/1.jpg", "copy.jpg"))]
    assert len(rows) == 3
    assert len({row["detection_id"] for row in rows}) == 1


def test_the_same_bytes_under_two_names_are_one_medium_with_two_rows(known):
    first = save(known.inbox / "cam1" / "1.jpg", draw("A", shot=7))
    second = known.inbox / "cam2" / "copy.jpg"
    second.parent.mkdir()
    second.write_bytes(first.read_bytes())
    age(second)
    known.watch()
    third = known.inbox / "cam1" / "later.jpg"  # found by a later run
    third.write_bytes(first.read_bytes())
    age(third)
    known.watch()
    rows = known.rows("media")
    assert {Path(row["file_path"]).name for row in rows} == {"1.jpg", "copy.jpg", "later.jpg"}
    assert len({row["detection_id"] for row in rows}) == 1
    assert len(known.rows("event")) == 1


def test_the_same_name_with_other_bytes_is_another_medium(known):
    save(known.inbox / "IMG_0001.jpg", draw("A", shot=7), "2026-05-01 06:00:00")
    known.watch()
    save(known.inbox / "IMG_0001.jpg", draw("B", shot=7), "2026-05-02 06:00:00")
    known.watch()
    assert [row["name"] for row in known.rows("event")] == ["A", "B"]


def test_a_late_frame_joins_its_event_and_it_is_decided_anew(known):
    save(known.inbox / "cam" / "1.jpg", draw("X", shot=1), "2026-05-01 06:30:00")
    known.watch()
    (before,) = known.rows("event")
    assert before["decision"] == "review"
    save(known.inbox / "cam" / "2.jpg", draw("X", shot=2), "2026-05-01 06:30:50")
    known.watch()
    (after,) = known.rows("event")
    assert (after["decision"], after["num_frames"]) == ("new", "2")
    assert after["event_id"] == before["event_id"]
    assert after["observation_id"] == before["observation_id"]


def test_a_frame_between_two_events_makes_them_one(known):
    save(known.inbox / "cam" / "1.jpg", draw("A", shot=1), "2026-05-01 06:30:00")
    save(known.inbox / "cam" / "3.jpg", draw("A", shot=3), "2026-05-01 06:31:40")
    known.watch()
    assert len(known.rows("event")) == 2
    first = known.rows("event")[0]["event_id"]
    save(known.inbox / "cam" / "2.jpg", draw("A", shot=2), "2026-05-01 06:30:50")
    known.watch()
    (event,) = known.rows("event")
    assert (event["event_id"], event["num_frames"], event["name"]) == (first, "3", "A")


def test_pictures_without_camera_time_are_an_event_each(known):
    """They were copied at once: their files' times say nothing of when an animal passed."""
    for shot in (1, 2):
        save(known.inbox / "cam" / f"{shot}.jpg", draw("X", shot=shot))
    known.watch()
    save(known.inbox / "cam" / "3.jpg", draw("A", shot=3))
    ran = known.watch()
    assert "1 picture carries no camera time: each is an event of its own" in ran.out
    found = sorted((row["decision"], row["num_frames"]) for row in known.rows("event"))
    assert found == [("match", "1"), ("review", "1"), ("review", "1")]


def test_a_picture_with_camera_time_joins_none_that_has_only_its_files(known):
    untimed = save(known.inbox / "cam" / "1.jpg", draw("A", shot=1))
    known.watch()
    now = datetime.fromtimestamp(untimed.stat().st_mtime).isoformat(" ", "seconds")
    save(known.inbox / "cam" / "2.jpg", draw("A", shot=2), now)
    known.watch()
    assert [row["num_frames"] for row in known.rows("event")] == ["1", "1"]


def test_two_boxes_of_a_picture_without_camera_time_are_one_event(known, tmp_path):
    save(known.inbox / "1.jpg", draw("A", "B", shot=1))
    animals = [{"category": "1", "conf": 0.9, "bbox": [left, 0.0, 0.5, 1.0]} for left in (0.0, 0.5)]
    boxes = tmp_path / "boxes.json"
    images = [{"file": "1.jpg", "detections": animals}]
    boxes.write_text(json.dumps({"images": images, "detection_categories": {"1": "animal"}}))
    known.watch("--boxes", str(boxes))
    events = known.rows("event")
    assert sorted(row["name"] for row in events) == ["A", "B"]
    assert len({row["event_id"] for row in events}) == 1


@pytest.mark.parametrize("taken", ["0001-01-01 00:00:00", "9999-12-31 23:59:59"])
def test_a_camera_time_that_cannot_be_is_none(known, taken):
    save(known.inbox / "1.jpg", draw("A", shot=1), "2026-05-01 06:30:00")
    data = (known.inbox / "1.jpg").read_bytes()
    wrong = taken.replace("-", ":").encode()
    (known.inbox / "1.jpg").write_bytes(data.replace(b"2026:05:01 06:30:00", wrong))
    age(known.inbox / "1.jpg")
    assert known.watch().code == 0
    assert known.by_name()["1.jpg"]["time_source"] == "mtime"


def test_pictures_of_two_cameras_are_two_events(known):
    for camera in ("cam1", "cam2"):
        save(known.inbox / camera / f"{camera}.jpg", draw("A", shot=5), "2026-05-01 06:30:00")
    save(known.inbox / "cam2" / "other.jpg", draw("A", shot=6), "2026-05-01 06:30:00")
    known.watch()
    # The same bytes at both cameras are one medium, which belongs to the first.
    assert {(r["deployment_id"], r["num_frames"]) for r in known.rows("event")} == {
        ("cam1", "1"),
        ("cam2", "1"),
    }


def test_without_thresholds_everything_is_left_to_review(known, tmp_path):
    plain = write_model(tmp_path / "plain.onnx", decision=NO_DECISION)
    save(known.inbox / "1.jpg", draw("A", shot=7))
    ran = known.watch("--model", str(plain))
    assert "enrol 10 or more individuals" in ran.out
    assert known.rows("event")[0]["decision"] == "review"
    assert known.rows("event")[0]["name"] == "A"


def test_an_empty_gallery_is_said_and_the_run_goes_on(device):
    save(device.inbox / "1.jpg", draw("A", shot=7), "2026-05-01 06:30:00")
    save(device.inbox / "2.jpg", draw("A", shot=8), "2026-05-01 06:30:01")
    ran = device.watch()
    assert ran.code == 0
    assert "edge-gallery enroll FOLDER" in ran.out
    assert [row["decision"] for row in device.rows("event")] == ["new"]


@pytest.mark.parametrize(("after", "left"), [("keep", True), ("move", False), ("delete", False)])
def test_the_file_is_kept_moved_or_deleted_once_it_is_recorded(known, after, left):
    picture = save(known.inbox / "cam" / "1.JPG", draw("A", shot=7), "2026-05-01 06:30:00")
    bad = known.inbox / "cam" / "bad.jpg"
    bad.write_bytes(b"no picture")
    age(bad)
    data = picture.read_bytes()
    known.watch("--after", after)
    assert picture.exists() is left
    assert bad.exists()  # what could not be used stays where it is
    row = known.by_name()["1.JPG"]
    if after == "move":
        assert row["disposed_to"] == f"archive/2026/05/{row['sha256']}.jpg"
        assert (known.state / row["disposed_to"]).read_bytes() == data
    else:
        assert row["disposed_to"] == {"keep": "", "delete": "deleted"}[after]


def test_a_file_recorded_before_is_disposed_of_by_the_next_run(known):
    picture = save(known.inbox / "1.jpg", draw("A", shot=7))
    known.watch()
    known.watch("--after", "delete")
    assert not picture.exists()
    assert known.by_name()["1.jpg"]["disposed_to"] == "deleted"


def test_nothing_is_deleted_that_is_not_recorded(known, monkeypatch):
    from edge.identity import sightings

    def power_cut(*_):
        raise RuntimeError("power cut")

    picture = save(known.inbox / "1.jpg", draw("A", shot=7))
    monkeypatch.setattr(sightings, "join_events", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        known.watch("--after", "delete")
    monkeypatch.undo()
    assert picture.exists()
    assert known.by_name()["1.jpg"]["state"] == "claimed"
    known.watch("--after", "delete")
    assert not picture.exists()
    assert len(known.rows("event")) == 1


def test_a_clip_is_one_event_with_a_frame_a_second(known):
    path = known.inbox / "cam" / "clip.avi"
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 64))
    for shot in range(15):
        writer.write(draw("B", shot=shot)[..., ::-1])
    writer.release()
    age(path)
    save(known.inbox / "cam" / "1.jpg", draw("A", shot=1), "2026-05-01 06:30:00")
    ran = known.watch()
    assert ran.code == 0, ran.err
    frames = [row for row in known.rows("media") if row["kind"] == "video"]
    assert [row["frame_ms"] for row in frames] == ["0", "1000", "2000"]
    assert {(row["decision"], row["best_name"]) for row in frames} == {("match", "B")}
    (event,) = [row for row in known.rows("event") if row["name"] == "B"]
    assert event["num_frames"] == "3"
    assert "2 new frames, 2 events, 2 match" in ran.out
    assert "0 new frames" in known.watch().out


def poisoned(known, monkeypatch, fatal):
    """Three pictures; `fatal(pool)` is what becomes of the one in the middle when it is decoded."""
    poison = save(known.inbox / "b.jpg", draw("B", shot=7)).read_bytes()
    for name, animal in (("a.jpg", "A"), ("c.jpg", "C")):
        save(known.inbox / name, draw(animal, shot=7), "2026-05-01 06:30:00")
    submit = DecodePool.submit
    attempts = []

    def submit_or_die(pool, data, wanted, then=None):
        if data != poison:
            return submit(pool, data, wanted, then)
        attempts.append(1)
        return fatal(pool)

    monkeypatch.setattr(DecodePool, "submit", submit_or_die)
    return attempts


def states(known):
    rows = known.by_name()
    return {name: (row["state"], row["reason"]) for name, row in rows.items()}


POISON_ALONE = {
    "a.jpg": ("done", ""),
    "b.jpg": ("quarantined", "crashed"),
    "c.jpg": ("done", ""),
}


def test_a_picture_that_ends_its_decoder_three_times_is_set_aside(known, monkeypatch):
    attempts = poisoned(known, monkeypatch, lambda pool: pool.call(os.abort))
    assert known.watch().code == 0
    assert (states(known), len(attempts)) == (POISON_ALONE, 3)
    assert known.watch().code == 0
    assert len(attempts) == 3


def test_a_picture_that_ends_the_program_thrice_alone_is_set_aside(known, monkeypatch):
    """The first time others were in hand too; they are not set aside, nor is it opened again."""

    def killed(pool):
        raise RuntimeError("killed")

    attempts = poisoned(known, monkeypatch, killed)
    for _ in range(4):
        with pytest.raises(RuntimeError, match="killed"):
            known.watch()
    assert known.watch().code == 0
    assert (states(known), len(attempts)) == (POISON_ALONE, 4)


def test_watching_takes_what_arrives_and_a_sigterm_ends_it_cleanly(known, tmp_path):
    settings = tmp_path / "edge.toml"
    settings.write_text("settle_seconds = 0.1\n")
    process = start(
        "watch", str(known.inbox), "--state", str(known.state), "--model", str(known.model),
        "--config", str(settings),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for _ in range(3):  # model, gallery, decisions
            process.stdout.readline()
        save(known.inbox / "cam" / "1.jpg", draw("A", shot=7))
        assert "MATCH  A" in process.stdout.readline()
        second = known.watch()
        assert second.code == 1
        assert "in use by another edge-watch" in second.err
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert "done: 1 new frame" in out
    assert len(known.rows("event")) == 1


def test_a_file_that_is_still_being_written_is_left_alone(known, tmp_path):
    settings = tmp_path / "edge.toml"
    settings.write_text("settle_seconds = 0.05\n")
    data = save(tmp_path / "whole.jpg", draw("A", shot=7)).read_bytes()
    target = known.inbox / "slow.jpg"
    with target.open("wb") as file:
        file.write(data[:500])
        file.flush()
        age(target)  # looks settled, but somebody has it open
        ran = known.watch("--config", str(settings))
        assert "1 file not whole yet" in ran.out
        assert known.rows("media") == []
        file.write(data[500:])
    age(target)
    known.watch("--config", str(settings))
    assert known.by_name()["slow.jpg"]["state"] == "done"


def test_a_fresh_file_is_waited_for(known, tmp_path):
    settings = tmp_path / "edge.toml"
    settings.write_text("settle_seconds = 0.15\n")
    picture = save(known.inbox / "1.jpg", draw("A", shot=7))
    os.utime(picture)
    started = time.monotonic()
    known.watch("--config", str(settings))
    assert time.monotonic() - started >= 0.15
    assert len(known.rows("event")) == 1


def test_the_thresholds_come_from_the_gallery_with_ten_individuals(device, tmp_path):
    for animal in "ABCDEFGHIJKL":
        for shot in (1, 2, 3):
            save(tmp_path / "many" / animal / f"{shot}.jpg", draw(animal, shot=shot))
    ran = device.enroll(tmp_path / "many")
    assert "of 100 strangers to get a known name" in ran.out
    assert "measured on 12 animals of the gallery" in ran.out
    save(device.inbox / "1.jpg", draw("A", shot=9))
    device.watch()
    (event,) = device.rows("event")
    assert (event["name"], event["decision"]) == ("A", "match")
    assert event["threshold_source"] == "gallery"
    assert float(event["statistic_value"]) >= float(event["match_threshold"])


def test_the_models_thresholds_are_told_as_the_models(known):
    save(known.inbox / "1.jpg", draw("A", shot=9))
    ran = known.watch()
    assert "from the model (labels), not from your animals" in ran.out
    (event,) = known.rows("event")
    assert float(event["match_threshold"]) == DECISION.match_threshold


def test_a_file_that_changed_after_it_was_read_is_not_disposed_of(known):
    from edge.config import After
    from edge.intake.inbox import Inbox
    from edge.record.archive import dispose
    from edge.record.state import StateFolder
    from edge.record.store_archive import ArchiveKey

    picture = save(known.inbox / "1.jpg", draw("A"))
    (file,) = Inbox(known.inbox, 0, 0).scan().ready
    save(picture, draw("B"))
    key = ArchiveKey(sha256="0" * 64, captured_at=datetime(2026, 5, 1))
    for after in (After.move, After.delete):
        assert dispose(StateFolder(root=known.state), file, key, after) is None
    assert picture.exists()
