"""The synthetic world: repeatable, honest about its boxes, and free of leaks between its parts."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError
from edge.media import decode, read_bytes
from edge.pictures import read_collection
from trainer import synthetic
from trainer.animal import (
    BODY_HEIGHT,
    BODY_WIDTH,
    Flank,
    Placement,
    Pose,
    draw_coat,
    place,
    pose_body,
)
from trainer.scenery import draw_scene, light_scene
from trainer.schedule import Visit, schedule_events
from trainer.synthetic import WorldPlan, draw_world, tiny_plan

Row = dict[str, str]
GAP_SECONDS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "one"
    draw_world(root, 7, tiny_plan())
    return root


@pytest.fixture(scope="module")
def truth(world: Path) -> list[Row]:
    with (world / "truth.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _digests(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _boxes(world: Path, part: str) -> dict[str, list[list[float]]]:
    content = json.loads((world / f"{part}-boxes.json").read_text(encoding="utf-8"))
    return {
        image["file"]: [detection["bbox"] for detection in image["detections"]]
        for image in content["images"]
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_world(
    world: Path, tmp_path: Path
) -> None:
    draw_world(tmp_path / "again", 7, tiny_plan())
    draw_world(tmp_path / "other", 8, tiny_plan())
    first, again = _digests(world), _digests(tmp_path / "again")
    assert first == again
    assert not set(first.values()) & set(_digests(tmp_path / "other").values())


def test_every_picture_is_drawn_once(world: Path) -> None:
    pictures = {name: it for name, it in _digests(world).items() if name.endswith(".JPG")}
    assert len(pictures) > 60
    assert len(set(pictures.values())) == len(pictures)


def test_the_truth_names_every_picture_and_the_boxes_file_too(
    world: Path, truth: list[Row]
) -> None:
    named = {f"{row['part']}/{row['path']}" for row in truth}
    assert named == {path.relative_to(world).as_posix() for path in world.rglob("*.JPG")}
    for part in ("train", "inbox"):
        mine = {row["path"] for row in truth if row["part"] == part}
        assert set(_boxes(world, part)) == mine
        assert len(BoxesFile(world / f"{part}-boxes.json")) == len(mine)


def test_the_plan_is_kept(truth: list[Row]) -> None:
    plan = tiny_plan()
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in truth:
        seen[row["part"], row["identity"][:1]].add(row["identity"])
    sizes = {key: len(names) for key, names in seen.items()}
    assert sizes == {
        ("train", "T"): plan.num_train,
        ("train", ""): 1,
        ("gallery", "K"): plan.num_known,
        ("inbox", "K"): plan.num_known,
        ("inbox", "S"): plan.num_strangers,
        ("inbox", ""): 1,
    }
    assert sum(row["part"] == "inbox" and not row["identity"] for row in truth) == plan.num_blanks
    assert all((row["known"] == "1") == row["identity"].startswith("K") for row in truth)


def test_train_and_gallery_see_both_flanks_of_each_animal(truth: list[Row]) -> None:
    flanks: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in truth:
        if row["identity"] and row["part"] != "inbox":
            flanks[row["part"], row["identity"]].add(row["flank"])
    assert all(both == {"left", "right"} for both in flanks.values())


def test_no_camera_is_shared_between_the_parts(truth: list[Row]) -> None:
    parts: dict[str, set[str]] = defaultdict(set)
    for row in truth:
        parts[row["path"].split("/")[0]].add(row["part"])
    assert all(len(at_camera) == 1 for at_camera in parts.values())
    assert len({part for at_camera in parts.values() for part in at_camera}) == 3


def test_pictures_carry_their_capture_time(world: Path, truth: list[Row]) -> None:
    for row in truth:
        frame = decode(read_bytes(world / row["part"] / row["path"]))
        assert frame.captured_at == datetime.fromisoformat(row["timestamp"])
        assert frame.image_HWC.shape == (tiny_plan().frame_height, tiny_plan().frame_width, 3)


def test_bursts_come_back_from_the_gaps_in_time(truth: list[Row]) -> None:
    cameras: dict[str, list[Row]] = defaultdict(list)
    for row in truth:
        cameras[row["path"].split("/")[0]].append(row)
    for rows in cameras.values():
        rows.sort(key=lambda row: row["path"])
        for before, after in pairwise(rows):
            gap = datetime.fromisoformat(after["timestamp"]) - datetime.fromisoformat(
                before["timestamp"]
            )
            together = before["encounter"] == after["encounter"]
            assert 0 < gap.total_seconds()
            assert (gap.total_seconds() <= GAP_SECONDS) == together
            assert together or gap.total_seconds() > 600


def test_blanks_have_no_box_and_animals_have_one_inside_the_frame(
    world: Path, truth: list[Row]
) -> None:
    boxes = {part: _boxes(world, part) for part in ("train", "inbox")}
    for row in truth:
        if row["part"] == "gallery":
            continue
        found = boxes[row["part"]][row["path"]]
        assert len(found) == (1 if row["identity"] else 0)
        for x, y, width, height in found:
            assert 0 <= x < x + width <= 1 + 1e-6
            assert 0 <= y < y + height <= 1 + 1e-6
            assert width > 0.25 and height > 0.25


def test_the_box_holds_what_is_seen_of_the_animal() -> None:
    """The frame with and without the animal may differ inside the box and in its shadow only."""
    plan, rng = tiny_plan(), np.random.default_rng(5)
    size = (plan.frame_height, plan.frame_width)
    event = schedule_events(plan, synthetic._rng(5, "schedule"))[0]
    scene = draw_scene(rng, *size)
    pose, placement = synthetic._walk(rng, plan, event.visit)[0]
    cover_HW4 = np.zeros((*size, 4), np.uint8)
    lighting = light_scene(event, scene, cover_HW4, rng)
    layer = place(pose_body(draw_coat(rng).right_HW, pose), "right", placement, size)
    with_it_HWC, seen_HW = synthetic._draw_frame(
        lighting, layer, placement, np.random.default_rng(1)
    )
    without_HWC, none_HW = synthetic._draw_frame(
        lighting, None, placement, np.random.default_rng(1)
    )
    changed_HW = np.abs(with_it_HWC.astype(int) - without_HWC).max(axis=2) > 40
    x, y, width, height = synthetic._box(seen_HW)
    inside_HW = np.zeros_like(changed_HW)
    inside_HW[y : y + height, x : x + width] = True
    above_the_ground = slice(0, int(placement.feet_y - 12))
    assert none_HW.sum() == 0
    assert changed_HW[inside_HW].mean() > 0.2
    assert changed_HW[above_the_ground][~inside_HW[above_the_ground]].mean() < 0.002


def test_the_gallery_reads_as_a_collection(world: Path, truth: list[Row]) -> None:
    collection = read_collection(world / "gallery")
    rows = [row for row in truth if row["part"] == "gallery"]
    assert collection.labelled
    assert [one.name for one in collection.pictures] == [row["path"] for row in rows]
    for one, row in zip(collection.pictures, rows, strict=True):
        assert (one.identity, one.flank, one.encounter) == (
            row["identity"],
            row["flank"],
            row["encounter"],
        )
        assert one.box is not None and not one.box.relative
        assert one.captured_at is not None
        assert str(one.captured_at) == row["timestamp"].split(".")[0]


def _pose(gait: float) -> Pose:
    return Pose(gait=gait, stride=18.0, neck=5.0 * gait, head=0.0, tail=0.0)


def _torso(pattern_HW: np.ndarray, gait: float) -> np.ndarray:
    """The coat of a posed animal as a frame shows it, on the rows and columns of its torso."""
    at = Placement(
        centre_x=130, feet_y=170, scale=0.7, squash=1.0, tilt=2.0 * gait, bend=gait, taper=0.0
    )
    layer = place(pose_body(pattern_HW, _pose(gait)), "right", at, (190, 260))
    mark_HW = np.zeros((190, 260), np.float32)
    height, width = layer.mark_HW.shape
    mark_HW[layer.top : layer.top + height, layer.left : layer.left + width] = layer.mark_HW
    return mark_HW[75:125, 85:165]


def test_two_flanks_differ_more_than_two_poses_of_one_flank() -> None:
    for seed in range(8):
        coat = draw_coat(np.random.default_rng(seed))
        left, again, right = (
            _torso(coat.left_HW, 0.0),
            _torso(coat.left_HW, 1.5),
            _torso(coat.right_HW, 0.0),
        )
        same = np.corrcoef(left.ravel(), again.ravel())[0, 1]
        for other in (right, right[:, ::-1]):
            assert np.corrcoef(left.ravel(), other.ravel())[0, 1] < same - 0.15


def test_a_coat_belongs_to_its_individual_whatever_the_event() -> None:
    def torso(identity: str, flank: Flank) -> np.ndarray:
        coat = draw_coat(synthetic._rng(3, "coat", identity))
        return coat.flank(flank)[60:140, 80:230]

    for flank in ("left", "right"):
        one, other = torso("K01", flank), torso("K02", flank)
        assert np.array_equal(one, torso("K01", flank))
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.5
        assert 0.2 < one.mean() < 0.6
    assert np.corrcoef(torso("K01", "left").ravel(), torso("K01", "right").ravel())[0, 1] < 0.5


def test_an_animal_that_shows_its_left_flank_walks_to_the_left() -> None:
    def places(flank: Flank) -> list[float]:
        visit = Visit(part="inbox", identity="K01", flank=flank, num_frames=4)
        steps = synthetic._walk(np.random.default_rng(2), WorldPlan(), visit)
        return [placement.centre_x for _, placement in steps]

    def head_column(flank: Flank) -> int:
        """Where the dark muzzle and eye of a coatless animal lie, with its hooves cut away."""
        at = Placement(
            centre_x=130, feet_y=170, scale=0.7, squash=1.0, tilt=0.0, bend=0.0, taper=0.0
        )
        bare_HW = np.zeros((BODY_HEIGHT, BODY_WIDTH), np.float32)
        layer = place(pose_body(bare_HW, _pose(0.0)), flank, at, (190, 260))
        columns = np.nonzero(layer.mark_HW[: 70 - layer.top] > 0.5)[1]
        return layer.left + int(np.median(columns))

    assert places("left") == sorted(places("left"), reverse=True) != places("right")
    assert places("right") == sorted(places("right"))
    assert head_column("left") < 130 < head_column("right")


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="not empty"):
        draw_world(tmp_path, 1, tiny_plan())
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_a_plan_or_seed_that_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_known is 0; give 1 or more"):
        WorldPlan(num_known=0)
    with pytest.raises(InputError, match="seed is -1"):
        draw_world(tmp_path, -1, tiny_plan())


def test_progress_ends_at_the_number_of_frames(tmp_path: Path) -> None:
    plan = WorldPlan(
        num_train=1,
        train_events=2,
        num_known=1,
        gallery_events=1,
        inbox_events=1,
        num_strangers=0,
        num_blanks=1,
        burst_frames=4,
        frame_width=240,
        frame_height=160,
    )
    told: list[tuple[int, int]] = []
    draw_world(tmp_path, 1, plan, lambda done, total: told.append((done, total)))
    assert told[-1] == (17, 17)  # 2 + 1 + 1 bursts of four, one blank
    assert len(list(tmp_path.rglob("*.JPG"))) == 17


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_progress_line_is_for_terminals_only(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    synthetic.main(tmp_path, seed=1, tiny=True)
    printed = capsys.readouterr()
    num_frames = len(list(tmp_path.rglob("*.JPG")))
    counts = [int(line.split()[1]) for line in printed.out.splitlines()[:3]]
    assert sum(counts) == num_frames
    assert "\r" not in printed.out
    if is_terminal:
        assert printed.err.endswith(f"\rdrawn {num_frames} of {num_frames} frames\n")
    else:
        assert printed.err == ""
