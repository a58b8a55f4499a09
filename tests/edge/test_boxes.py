"""Boxes from a MegaDetector JSON: several animals, people, vehicles, blanks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError

from .conftest import draw, save

LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]
CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}


def write_boxes(path: Path, images: dict[str, list[tuple[str, list[float], float]]]) -> Path:
    entries = [
        {
            "file": name,
            "detections": [
                {"category": category, "bbox": bbox, "conf": confidence}
                for category, bbox, confidence in found
            ],
        }
        for name, found in images.items()
    ]
    path.write_text(json.dumps({"images": entries, "detection_categories": CATEGORIES}))
    return path


def test_two_boxes_in_one_frame_are_two_animals(known, tmp_path):
    for shot in (1, 2, 3):
        taken = f"2026-05-01 06:30:0{shot}"
        animals = "AB" if shot != 2 else "BA"  # they change places
        save(known.inbox / "cam" / f"{shot}.jpg", draw(*animals, shot=shot), taken)
    boxes = write_boxes(
        tmp_path / "boxes.json",
        {f"cam/{shot}.jpg": [("1", LEFT, 0.9), ("1", RIGHT, 0.8)] for shot in (1, 2, 3)},
    )
    known.watch("--boxes", str(boxes))
    events = known.rows("event")
    assert sorted((row["name"], row["num_frames"], row["decision"]) for row in events) == [
        ("A", "3", "match"),
        ("B", "3", "match"),
    ]
    assert len({row["event_id"] for row in events}) == 1
    rows = known.rows("media")
    assert len(rows) == 6
    left_of_2 = [row for row in rows if row["file_path"].endswith("2.jpg") and row["x"] == "0"]
    assert [row["best_name"] for row in left_of_2] == ["B"]


def test_people_and_vehicles_are_typed_and_no_crop_of_them_is_kept(known, tmp_path):
    for shot, name in enumerate(("person", "car", "blank", "unsure")):
        save(known.inbox / f"{name}.jpg", draw("P", shot=shot))
    crops_before = set((known.state / "crops").iterdir())
    boxes = write_boxes(
        tmp_path / "boxes.json",
        {
            "person.jpg": [("2", LEFT, 0.9)],
            "car.jpg": [("3", LEFT, 0.9)],
            "blank.jpg": [],
            "unsure.jpg": [("1", LEFT, 0.1)],
        },
    )
    ran = known.watch("--boxes", str(boxes))
    rows = known.by_name()
    assert {name: row["observation_type"] for name, row in rows.items()} == {
        "person.jpg": "human",
        "car.jpg": "vehicle",
        "blank.jpg": "blank",
        "unsure.jpg": "blank",
    }
    assert set((known.state / "crops").iterdir()) == crops_before
    assert known.rows("event") == []
    assert all(row["encoder_id"] == "" for row in rows.values())
    assert "2 blank, 1 human, 1 vehicle" in ran.out


def test_a_picture_the_detector_did_not_see_is_unclassified_and_that_is_said(known, tmp_path):
    save(known.inbox / "listed.jpg", draw("A", shot=7))
    save(known.inbox / "unlisted.jpg", draw("B", shot=7))
    boxes = write_boxes(tmp_path / "boxes.json", {"listed.jpg": [("1", [0, 0, 1, 1], 0.9)]})
    ran = known.watch("--boxes", str(boxes))
    row = known.by_name()["unlisted.jpg"]
    assert (row["observation_type"], row["detection_id"]) == ("unclassified", "")
    assert "1 picture is not in the boxes file" in ran.out
    assert [row["name"] for row in known.rows("event")] == ["A"]


def test_a_tiny_animal_is_unidentifiable_and_spoils_no_event(known, tmp_path):
    save(known.inbox / "a.jpg", draw("A", shot=1), "2026-05-01 06:30:00")
    save(known.inbox / "b.jpg", draw("A", shot=2), "2026-05-01 06:30:01")
    save(known.inbox / "alone" / "c.jpg", draw("A", shot=3), "2026-05-01 06:30:00")
    speck = [0.1, 0.1, 0.1, 0.1]  # 6 of 64 pixels
    boxes = write_boxes(
        tmp_path / "boxes.json",
        {
            "a.jpg": [("1", [0, 0, 1, 1], 0.9)],
            "b.jpg": [("1", speck, 0.9)],
            "alone/c.jpg": [("1", speck, 0.9)],
        },
    )
    known.watch("--boxes", str(boxes))
    events = {row["deployment_id"]: row for row in known.rows("event")}
    assert (events["inbox"]["decision"], events["inbox"]["num_frames"]) == ("match", "2")
    assert (events["alone"]["decision"], events["alone"]["name"]) == ("unidentifiable", "")


def detection(**changes: object) -> dict[str, object]:
    return {"category": "1", "conf": 0.9, "bbox": [0, 0, 1, 1]} | changes


def boxes_of(path: Path, *entries: object, categories: object = None) -> BoxesFile:
    content = {"images": entries, "detection_categories": categories or CATEGORIES}
    path.write_text(json.dumps(content))
    return BoxesFile(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("not json", "is not JSON"),
        ("[]", "no list named 'images'"),
        ('{"images": [], "detection_categories": ["animal"]}', "'detection_categories' is not"),
    ],
)
def test_a_file_that_holds_no_boxes_is_refused(tmp_path, content, told):
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(InputError, match=told):
        BoxesFile(path)


@pytest.mark.parametrize(
    "entry",
    [
        "a.jpg",
        None,
        {"detections": []},
        {"file": 7, "detections": []},
        {"file": "a.jpg", "detections": {}},
        {"file": "a.jpg", "detections": ["animal"]},
        {"file": "a.jpg", "detections": [{"category": "1"}]},
        {"file": "a.jpg", "detections": [detection(conf=float("nan"))]},
        {"file": "a.jpg", "detections": [detection(bbox=None)]},
        {"file": "a.jpg", "detections": [detection(bbox=[0, 0, 1])]},
    ],
    ids=str,
)
def test_an_entry_that_cannot_be_read_is_named(tmp_path, entry):
    with pytest.raises(InputError, match=r"boxes\.json: entry 2 of 'images'.* cannot be read"):
        boxes_of(tmp_path / "boxes.json", {"file": "b.jpg", "detections": []}, entry)


@pytest.mark.parametrize(
    "bbox",
    [
        [float("nan"), 0, 1, 1],
        [0, float("-inf"), 1, 1],
        [0, 0, float("inf"), 1],
        [0, 0, 1, float("nan")],
        [1e308, 0, 1, 1],  # finite, but not once it is multiplied by the picture's width
        [10**400, 0, 1, 1],
        [0, 0, 0, 1],
        [0, 0, 1, -0.1],
    ],
)
def test_a_box_without_an_area_in_the_picture_is_refused(tmp_path, bbox):
    entry = {"file": "a.jpg", "detections": [detection(bbox=bbox)]}
    with pytest.raises(InputError, match=r"entry 1 of 'images' \(a\.jpg\) cannot be read"):
        boxes_of(tmp_path / "boxes.json", entry)


def test_a_picture_on_which_the_detector_failed_is_unclassified_not_blank(known, tmp_path):
    entries = [
        {"file": "null.jpg", "detections": None},
        {"file": "failed.jpg", "detections": [], "failure": "image access"},
        {"file": "blank.jpg", "detections": [], "failure": None},
    ]
    boxes = boxes_of(tmp_path / "boxes.json", *entries)
    assert boxes.find("null.jpg") is None
    assert boxes.find("failed.jpg") is None
    assert boxes.find("blank.jpg") == []
    for shot, entry in enumerate(entries):
        save(known.inbox / entry["file"], draw("A", shot=shot))
    known.watch("--boxes", str(tmp_path / "boxes.json"))
    assert {name: row["observation_type"] for name, row in known.by_name().items()} == {
        "null.jpg": "unclassified",
        "failed.jpg": "unclassified",
        "blank.jpg": "blank",
    }


@pytest.mark.parametrize("after", ["keep", "delete"])
def test_a_boxes_file_of_another_root_is_refused_before_anything_is_recorded(
    known, tmp_path, after
):
    picture = save(known.inbox / "cam" / "1.jpg", draw("A", shot=1))
    boxes = boxes_of(tmp_path / "boxes.json", {"file": "inbox/cam/1.jpg", "detections": []}).path
    ran = known.watch("--boxes", str(boxes), "--after", after)
    assert ran.code == 1
    assert "the inbox has cam/1.jpg, it names inbox/cam/1.jpg" in ran.err
    assert known.rows("media") == []
    assert picture.exists()


def test_a_boxes_file_on_all_of_which_the_detector_failed_is_not_of_another_root(known, tmp_path):
    save(known.inbox / "1.jpg", draw("A", shot=1))
    boxes = boxes_of(tmp_path / "boxes.json", {"file": "1.jpg", "detections": None}).path
    assert known.watch("--boxes", str(boxes)).code == 0
    assert known.by_name()["1.jpg"]["observation_type"] == "unclassified"


def test_a_new_picture_after_the_detector_ran_is_recorded_unclassified(known, tmp_path):
    save(known.inbox / "1.jpg", draw("A", shot=1))
    boxes = boxes_of(tmp_path / "boxes.json", {"file": "1.jpg", "detections": []}).path
    known.watch("--boxes", str(boxes))
    save(known.inbox / "2.jpg", draw("A", shot=2))
    assert known.watch("--boxes", str(boxes)).code == 0
    assert known.by_name()["2.jpg"]["observation_type"] == "unclassified"
