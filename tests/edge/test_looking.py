"""edge-watch with a detector: animals, people, blanks, clips; what of it is kept where."""

from __future__ import annotations

import json
from concurrent.futures import Future
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.decoding import decoder
from edge.decoding.people import hide_people
from edge.detect import WHOLE_FRAME, Box, FoundObject, People
from edge.intake.inbox import FoundFile
from edge.watch.looking import begin_looking, finish_looking
from edge.watch.pipeline import Medium
from edge.watch.taken import Times

from ..media_files import SPEC, clip, jpeg
from .conftest import Device, age, block, draw, number, save
from .test_detector import describe, model, node, tensor, value, written

ANIMAL_BOX, PERSON_BOX = (0.0, 0.0, 48.0, 64.0), (40.0, 0.0, 96.0, 64.0)  # of 96 x 64 pixels


def by_colour() -> bytes:
    """Sees an animal on the left as surely as a picture is green, a person if it is more red."""
    project = np.zeros((3, 12), np.float32)
    project[1, 4] = 1.0
    project[:, 10] = (1.0, -1.0, 0.0)
    rest = np.array([[*ANIMAL_BOX, 0, 0, *PERSON_BOX, 0, 1]], np.float32)
    axes = block(1, "axes") + number(8, 2) + number(8, 3) + number(20, 7)
    mean = block(1, "images") + block(2, "mean") + block(4, "ReduceMean") + block(5, axes)
    keep = block(5, block(1, "keepdims") + number(3, 0) + number(20, 2))
    graph = (
        tensor("project", project) + tensor("rest", rest)
        + tensor("shape", np.array([1, 2, 6], np.int64)) + block(1, mean + keep)
        + node("MatMul", ["mean", "project"], "row") + node("Add", ["row", "rest"], "sum")
        + node("Reshape", ["sum", "shape"], "output")
        + value(11, "images", 1, (1, 3, 64, 96)) + value(12, "output", 1, (1, 2, 6))
    )  # fmt: skip
    return model(graph)


@pytest.fixture
def detector(tmp_path: Path) -> str:
    content = describe("nms", input={"resize": "stretch"}, min_confidence=0.2)
    return str(written(tmp_path, by_colour(), content))


def tinted(red: int, green: int, side: int = 64) -> NDArray[np.uint8]:
    """Grain of these means, twice as wide as high."""
    grain = np.random.default_rng(3).normal(0, 8, (side, 2 * side, 3))
    return np.clip(grain + np.array([red, green, 20]), 0, 255).astype(np.uint8)


def pictures(device: Device) -> None:
    save(device.inbox / "animal.jpg", draw("A", "B", shot=5), "2026-05-01 06:30:00")
    save(device.inbox / "blank.jpg", tinted(10, 10), "2026-05-01 07:30:00")
    save(device.inbox / "person.jpg", tinted(220, 20), "2026-05-01 08:30:00")
    save(device.inbox / "both.jpg", tinted(220, 120), "2026-05-01 09:30:00")


def query(state: Path, sql: str) -> list[Any]:
    connection = apsw.Connection(str(state / "edge.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(sql))
    finally:
        connection.close()


def test_a_detector_finds_the_animal_and_tells_people_and_blanks(known, detector):
    pictures(known)
    ran = known.watch("--detector", detector)
    assert ran.code == 0, ran.err
    kinds = {Path(r["file_path"]).name: r["observation_type"] for r in known.rows("media")}
    assert kinds["blank.jpg"] == "blank"
    assert kinds["person.jpg"] == "human"
    (animal,) = [r for r in known.rows("media") if r["file_path"].endswith("animal.jpg")]
    assert (animal["best_name"], animal["x"], animal["width"]) == ("A", "0", "0.5")
    assert "1 blank, 1 human" in ran.out


def test_nothing_of_a_person_is_kept_under_the_state_folder(known, detector):
    pictures(known)
    before = set((known.state / "crops").iterdir())
    known.watch("--detector", detector, "--after", "move")
    rows = query(
        known.state,
        "SELECT embedding, crop, usable FROM detection WHERE observation_type = 'human'",
    )
    assert rows == [(None, None, 0)] * 2
    assert sorted(path.name for path in known.inbox.iterdir()) == ["both.jpg", "person.jpg"]
    # Of both.jpg there is a crop of the animal, in which the person's part is grey.
    crops = [cv2.imread(str(p)) for p in set((known.state / "crops").iterdir()) - before]
    (both,) = [one for one in crops if one[:, :8].mean() < 125 and one[:, -8:].std() < 4]
    assert abs(both[:, -6:].mean() - 128) < 3
    archived = [p for p in (known.state / "archive").rglob("*") if p.is_file()]
    assert len(archived) == 2  # animal and blank


def test_a_person_is_told_to_stay_in_the_inbox(known, detector):
    pictures(known)
    ran = known.watch("--detector", detector, "--after", "move")
    assert "2 pictures show people and stay in the inbox" in ran.out
    again = known.watch("--detector", detector, "--after", "move", "--people", "keep")
    assert again.code == 0
    assert list(known.inbox.iterdir()) == []


@pytest.mark.parametrize(("people", "sharp"), [("blur", False), ("keep", True)])
def test_a_person_is_blurred_or_kept_if_that_is_asked_for(known, detector, people, sharp):
    face = tinted(220, 20)
    face[10:50:4, 70:120] = 0  # stripes nobody blurs away by accident
    save(known.inbox / "person.jpg", face)
    known.watch("--detector", detector, "--people", people)
    ((crop, embedding),) = query(known.state, "SELECT crop, embedding FROM detection")
    assert embedding is None
    kept = cv2.imread(str(known.state / "crops" / f"{crop}.jpg")).astype(float)
    assert (np.abs(np.diff(kept, axis=0)).mean() > 10) == sharp


def test_each_frame_of_a_clip_has_boxes_of_its_own(known, detector):
    frames = [tinted(10, 10)] * 10 + [draw("A", "B", shot=5)] * 10 + [tinted(220, 20)] * 10
    path = known.inbox / "cam" / "clip.avi"
    path.parent.mkdir()
    path.write_bytes(clip(frames))
    age(path)
    ran = known.watch("--detector", detector)
    assert ran.code == 0, ran.err
    rows = known.rows("media")
    found = [(row["frame_ms"], row["observation_type"], row["usable"]) for row in rows]
    assert found == [("1000", "animal", "1"), ("2000", "human", "0")]
    assert [(row["num_frames"], row["name"]) for row in known.rows("event")] == [("1", "A")]


class Counting:
    """Decodes at once, and remembers what was wanted."""

    def __init__(self) -> None:
        self.wanted: list[decoder.Wanted] = []

    def submit(self, data: bytes, wanted: decoder.Wanted) -> Future[decoder.Decoded]:
        self.wanted.append(wanted)
        done: Future[decoder.Decoded] = Future()
        done.set_result(decoder.decode(data, wanted))
        return done


class Sees:
    """Finds the same in every picture."""

    look_side = 64
    sees_bursts = False

    def __init__(self, *objects: FoundObject) -> None:
        self.objects = list(objects)
        self.shown: list[tuple[str, int]] = []

    def find_all(
        self, deployment_id: str, views: list[decoder.View], times: list[datetime]
    ) -> list[list[FoundObject]]:
        self.shown.append((deployment_id, len(views)))
        assert all(view.look_HWC is not None for view in views)
        return [self.objects] * len(views)


def looked(finder: Sees, *names: str) -> tuple[Counting, list[Any]]:
    pool = Counting()
    pipeline: Any = SimpleNamespace(
        finder=finder,
        boxes=None,
        people=People.drop,
        times=Times(deployments={}, name_pattern=None),
        decoders=pool,
        encoder=SimpleNamespace(manifest=SimpleNamespace(input=SPEC)),
        health=SimpleNamespace(timed=lambda step: nullcontext()),
        beat=lambda: None,
    )
    data = jpeg(np.zeros((960, 1280, 3), np.uint8))
    awaited = [
        begin_looking(
            pipeline,
            Medium(
                sha256=name,
                data=data,
                files=[FoundFile(path=name, relative=name, num_bytes=1, mtime_ns=1, problem=None)],
            ),
        )
        for name in names
    ]
    return pool, finish_looking(pipeline, awaited).learned


def test_a_blank_and_a_person_cost_no_second_pass() -> None:
    person = FoundObject(box=WHOLE_FRAME, observation_type="human", confidence=0.9)
    for finder in (Sees(), Sees(person)):
        pool, learned = looked(finder, "cam/1.jpg")
        assert [one.look_side for one in pool.wanted] == [64]
        assert learned[0].decoded.views[0].objects == tuple(finder.objects)


def test_an_animal_is_decoded_again_at_the_scale_its_box_needs() -> None:
    small = Box(x=0.5, y=0.5, width=0.1, height=0.1, relative=True)
    animal = FoundObject(box=small, observation_type="animal", confidence=0.9)
    pool, learned = looked(Sees(animal), "cam/1.jpg")
    assert decoder.scale_for(pool.wanted[0], 1280, 960) == 8
    assert decoder.scale_for(pool.wanted[1], 1280, 960) == 1
    assert pool.wanted[1].look_side is None
    assert learned[0].decoded.views[0].cuts[0] is not None


def test_a_finder_is_shown_the_views_of_a_camera_together() -> None:
    finder = Sees()
    looked(finder, "a/1.jpg", "b/1.jpg", "a/2.jpg")
    assert sorted(finder.shown) == [("a", 2), ("b", 1)]


def test_boxes_and_a_detector_together_are_refused(known, detector, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"images": []}))
    ran = known.watch("--detector", detector, "--boxes", str(boxes))
    assert ran.code == 1
    assert "leave one of them away" in ran.err


def test_a_detector_that_does_not_fit_its_json_stops_before_anything_is_claimed(known, tmp_path):
    pictures(known)
    content = describe("nms-parts", input={"resize": "stretch"})
    ran = known.watch("--detector", str(written(tmp_path, by_colour(), content)))
    assert ran.code == 1
    assert "d.onnx: " in ran.err and "[1, 2, 6]" in ran.err
    assert known.rows("media") == []


def test_a_detector_that_fails_on_a_picture_costs_that_picture_no_attempt(known, tmp_path):
    pictures(known)
    content = describe("nms", input={"resize": "stretch"}, classes=["zebra"], animals=["zebra"])
    content |= {"people": [], "vehicles": []}  # it knows a second class, of red pictures
    detector = written(tmp_path, by_colour(), content)
    ran = known.watch("--detector", str(detector))
    assert ran.code == 1
    assert "names only 1" in ran.err
    claimed = query(known.state, "SELECT attempts FROM media WHERE state = 'claimed'")
    assert claimed and set(claimed) == {(0,)}


def test_a_person_is_hidden_to_the_edge_of_the_box_and_no_further() -> None:
    image = np.full((100, 100, 3), 7, np.uint8)
    box = Box(x=0.2, y=0.2, width=0.4, height=0.4, relative=True)
    grey = hide_people(image, [box], People.drop)
    assert (grey[20:60, 20:60] == 128).all()
    assert (grey[:17] == 7).all() and (grey[:, 63:] == 7).all()
    assert (image == 7).all()
