"""A card of raw frames searched before training: the table, the sheet, stops, what is refused."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

from edge.detection.boxes_file import BoxesFile
from edge.errors import ConfigError, InputError
from edge.media import decode
from edge.pictures import Picture, read_collection
from edge.preprocess import InputSpec, resize
from trainer.card import order
from trainer.card.search import Searched, search_card
from trainer.card.table import read_table
from trainer.data import load_crops
from trainer.run import train

from ..tiny_run import Quiet, request_for

SPEC = InputSpec(height=32, width=48, resize="squash", pad_value=0)
WIDTH, HEIGHT = 96, 64


class Counting(Quiet):
    """Knows how many pictures were searched, and stops at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.searched: list[int] = []
        self._stop_at = stop_at

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        if what == "looking for animals":
            self.searched.append(done)
            if self._stop_at is not None and done >= self._stop_at:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def searched(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return search_card(tmp_path_factory.mktemp("card"), world / "train", "motion", Quiet())


def picture(path: Path, seed: int, taken_at: datetime | None = None) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if taken_at is not None:
        exif.get_ifd(0x8769)[0x9003] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    Image.fromarray(pixels).save(path, "JPEG", quality=95, exif=exif)
    return path


def detector(folder: Path, rows: Sequence[tuple[float, float, float, float, float, int]]) -> Path:
    """A detector file that sees the same everywhere: corners in pixels, confidence, class."""
    boxes = np.array([rows], np.float32).reshape(1, len(rows), 6)
    value = onnx.numpy_helper.from_array(boxes, "value")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Constant", [], ["found"], value=value)],
        "detector",
        [onnx.helper.make_tensor_value_info("images", 1, [1, 3, HEIGHT, WIDTH])],
        [onnx.helper.make_tensor_value_info("found", 1, list(boxes.shape))],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    path = folder / "finder.onnx"
    path.write_bytes(model.SerializeToString())
    content = {
        "layout": "nms",
        "input": {
            "height": HEIGHT, "width": WIDTH, "colours": "rgb", "axes": "nchw", "divide_by": 255,
            "mean": [0, 0, 0], "std": [1, 1, 1], "resize": "stretch", "pad": 0,
        },
        "classes": ["zebra", "person", "jeep"],
        "animals": ["zebra"], "people": ["person"], "vehicles": ["jeep"],
        "min_confidence": 0.2, "max_overlap": 0.9,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(content))
    return path


def test_motion_finds_the_drawn_animals_and_writes_a_row_a_picture(
    world: Path, searched: Searched
) -> None:
    with (world / "truth.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["path"]: row for row in csv.DictReader(file) if row["part"] == "train"}
    rows = read_table(searched.table)
    assert {row.path for row in rows} == set(truth)
    animals = {path for path, row in truth.items() if row["identity"]}
    found = {row.path for row in rows if row.is_crop}
    assert len(found & animals) >= 0.9 * len(animals)
    assert len(found - animals) <= 1
    for row in rows:
        data = (world / "train" / row.path).read_bytes()
        assert row.sha256 == hashlib.sha256(data).hexdigest()
        assert row.captured_at == truth[row.path]["timestamp"]
        assert (row.observation_type == "animal") == bool(row.bbox and row.confidence)


def test_training_cuts_the_pixels_that_the_table_names(world: Path, searched: Searched) -> None:
    crops = load_crops(read_collection(world / "train"), SPEC, BoxesFile(searched.table))
    rows = [row for row in read_table(searched.table) if row.is_crop]
    assert len(crops) == len(rows) > 20
    for image, row in zip(crops.images_NHWC, rows, strict=True):
        x, y, width, height = json.loads(row.bbox)
        whole = decode((world / "train" / row.path).read_bytes()).image_HWC
        np.testing.assert_array_equal(image, resize(whole[y : y + height, x : x + width], SPEC))


def test_the_sheet_shows_crops_with_name_confidence_and_quality(searched: Searched) -> None:
    page = (searched.table.parent / "crops.html").read_text(encoding="utf-8")
    rows = [row for row in read_table(searched.table) if row.is_crop]
    assert page.count("confidence ") == len(rows)  # all of so few
    for row in rows:
        words = f"confidence {float(row.confidence):.2f}, quality {float(row.quality):.2f}"
        assert f"<bdi>{row.path}</bdi><br>{words}" in page
    assert "Taken for blanks" in page
    assert "src=" in page
    assert "https://" not in page


def test_a_stopped_search_goes_on_where_it_was_with_what_it_had_learned(
    world: Path, tmp_path: Path
) -> None:
    def search(run: str, told: Counting) -> bytes:
        found = search_card(tmp_path / run, world / "train", "motion", told, at_once=3)
        return found.table.read_bytes()

    for stop_at in (1, 17):  # in the middle of a camera's pictures
        with pytest.raises(KeyboardInterrupt):
            search("run", Counting(stop_at))
    told = Counting()
    table = search("run", told)
    assert min(told.searched) > 17
    assert any("going on with the search after" in sentence for sentence in told.sentences)
    assert table == search("straight", Counting())
    assert not (tmp_path / "run" / "crops.part.json").exists()


def test_a_finished_search_is_not_done_again(world: Path, searched: Searched) -> None:
    before = searched.table.read_bytes()
    told = Counting()
    search_card(searched.table.parent, world / "train", "motion", told)
    assert told.searched == []
    assert any("found before" in sentence for sentence in told.sentences)
    assert searched.table.read_bytes() == before


def test_people_and_vehicles_become_no_crops_nor_an_animal_with_somebody_before_it(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    picture(data / "ford" / "1.jpg", 1)
    finder = detector(
        tmp_path,
        [
            (2, 2, 40, 60, 0.9, 0),  # a zebra by itself
            (60, 2, 94, 40, 0.8, 0),  # another, and somebody's arm
            (50, 10, 62, 60, 0.7, 1),
            (70, 45, 75, 50, 0.6, 0),  # a zebra of five pixels
            (80, 45, 94, 60, 0.5, 2),
        ],
    )
    table = search_card(tmp_path / "run", data, str(finder), Quiet()).table
    assert [(row.observation_type, row.left_out) for row in read_table(table)] == [
        ("animal", ""),
        ("animal", "person"),
        ("human", ""),
        ("animal", "small"),
        ("vehicle", ""),
    ]
    crops = load_crops(read_collection(data), SPEC, BoxesFile(table))
    assert (len(crops), crops.num_unfit) == (1, 2)
    page = (table.parent / "crops.html").read_text(encoding="utf-8")
    assert "<figure" not in page  # the only picture shows somebody


def test_a_card_without_animals_is_told_with_what_was_seen(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for seed in range(3):
        picture(data / f"{seed}.jpg", seed)
    (data / "half.jpg").write_bytes((data / "0.jpg").read_bytes()[:2000])
    (data / "clip.MP4").write_bytes(b"not looked into")
    finder = detector(tmp_path, [(50, 10, 62, 60, 0.7, 1), (2, 2, 40, 60, 0.1, 0)])
    told = Quiet()
    with pytest.raises(InputError) as refused:
        search_card(tmp_path / "run", data, str(finder), told)
    said = str(refused.value)
    assert "4 pictures: 0 with animals (0 crops), 3 with people, 0 blank, 1 could not be" in said
    assert "lower min_confidence" in said
    assert str(tmp_path / "finder.json") in said
    assert any("1 clip" in sentence and "not used" in sentence for sentence in told.sentences)
    assert "<figure" not in (tmp_path / "run" / "crops.html").read_text(encoding="utf-8")


def test_pictures_alone_before_their_cameras_are_no_crops(tmp_path: Path) -> None:
    """Motion has nothing to compare them with; whole pictures would teach places."""
    for camera in range(3):
        picture(tmp_path / "data" / str(camera) / "1.jpg", camera, datetime(2026, 5, 1, camera))
    with pytest.raises(InputError, match=r"3 could not be looked at.* several pictures of each"):
        search_card(tmp_path / "run", tmp_path / "data", "motion", Quiet())


def test_a_search_by_another_detector_or_of_other_pictures_is_not_taken(
    world: Path, trained: Path, searched: Searched, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="begun without --detector"):
        search_card(trained, world / "train", "motion", Quiet())
    run = tmp_path / "run"
    shutil.copytree(searched.table.parent, run)
    finder = detector(tmp_path, [(2, 2, 40, 60, 0.9, 0)])
    with pytest.raises(InputError, match=r"found by motion, not finder\.onnx: give --out"):
        search_card(run, world / "train", str(finder), Quiet())
    fewer = tmp_path / "fewer"
    shutil.copytree(world / "train" / "den", fewer / "den")
    with pytest.raises(InputError, match="and they are others than the 9 now"):
        search_card(run, fewer, "motion", Quiet())


def test_a_detector_without_its_json_names_the_command_that_writes_one(tmp_path: Path) -> None:
    picture(tmp_path / "data" / "1.jpg", 1)
    finder = detector(tmp_path, [])
    finder.with_suffix(".json").unlink()
    with pytest.raises(ConfigError, match="edge-admin detector check"):
        search_card(tmp_path / "run", tmp_path / "data", str(finder), Quiet())
    with pytest.raises(InputError, match="or the word motion"):
        search_card(tmp_path / "run", tmp_path / "data", "md.onnx", Quiet())
    assert not (tmp_path / "run").exists()


def test_boxes_of_the_data_are_not_overruled(world: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names boxes itself"):
        search_card(tmp_path / "run", world / "gallery", "motion", Quiet())


def taken(name: str, at: datetime) -> Picture:
    return Picture(
        path=Path(name),
        name=name,
        identity=None,
        box=None,
        captured_at=at,
        encounter=None,
        flank="unknown",
        split=None,
    )


def test_each_camera_is_searched_in_order_of_time_with_its_events_whole() -> None:
    """Names and times disagree: a camera's numbers start again after 9999."""
    start = datetime(2026, 5, 1)
    minutes = [10 * (second // 20) + second % 20 / 60 for second in range(60)]  # three events
    pictures = [
        taken(f"{camera}/{99 - number}.jpg", start + timedelta(minutes=minute))
        for number, minute in enumerate(minutes)
        for camera in ("den", "ford")
    ]
    batches, num_untimed = order.by_time(pictures, 32, lambda done, total: None)
    assert num_untimed == 0
    assert [(batch.camera, len(batch.pictures)) for batch in batches] == [
        ("den", 20), ("den", 20), ("den", 20), ("ford", 20), ("ford", 20), ("ford", 20),
    ]  # fmt: skip
    for batch in batches:
        assert list(batch.times) == sorted(batch.times)
        assert {order.camera_of(one) for one in batch.pictures} == {batch.camera}


def test_a_run_on_raw_frames_keeps_its_crops_wherever_it_is_moved(
    world: Path, tmp_path: Path
) -> None:
    """Trained with motion, started again, moved, evaluated, read for export."""
    from export.source import read_source
    from trainer.evaluation.evaluate import EvalRequest, evaluate_source
    from trainer.evaluation.protocol import Rules

    request = dataclasses.replace(
        request_for(world, tmp_path / "run"), boxes=None, detector="motion"
    )
    train(request, Quiet())
    told = Counting()
    train(request, told)
    assert told.searched == []
    assert any("is finished" in sentence for sentence in told.sentences)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["detector"] == {"name": "motion"}
    assert config["boxes"]["path"] == "crops.csv"
    moved = tmp_path / "moved"
    (tmp_path / "run").rename(moved)
    num_crops = sum(row.is_crop for row in read_table(moved / "crops.csv"))
    told = Counting()
    outcome = evaluate_source(
        EvalRequest(
            source=str(moved), data=world / "train", boxes=None, weights=None, size=None,
            rules=Rules(protocol="split", query_share=0.5, exclude_encounter=True),
            controls=False, flip=False, rerank=False, branches=False, open_set_share=None,
            open_set_seeds=(1,), pseudo_labels=False, device=request.device,
        ),
        told,
    )  # fmt: skip
    assert outcome.source.figures.num_queries == num_crops
    assert any("crops.csv" in sentence for sentence in told.sentences)
    source = read_source(str(moved), None, None, None, told)
    assert source.sample_NHWC is not None and len(source.sample_NHWC) == num_crops


@pytest.mark.data
def test_real_frames_and_a_real_detector(shared: Path, tmp_path: Path) -> None:
    """Elephants and the heron become crops; somebody, a jeep and three blanks do not."""
    from edge.detection.detector_proposal import propose
    from edge.detection.detector_spec import to_json

    folder = shared / "camera-trap"
    data, finder = tmp_path / "data", tmp_path / "nano.onnx"
    shutil.copytree(folder / "speciesnet", data / "misc")
    shutil.copytree(folder / "camtrap-dp-example" / "media", data / "pond")
    shutil.copyfile(folder / "detector" / "yolox_nano_416.onnx", finder)
    finder.with_suffix(".json").write_text(to_json(propose(finder.read_bytes()).spec))
    table = search_card(tmp_path / "run", data, str(finder), Quiet()).table
    crops = {Path(row.path).name for row in read_table(table) if row.is_crop}
    assert {"african_elephants.jpg", "20210531082539-RCNX0033.JPG"} <= crops
    others = {"human.jpg", "vehicle.jpg", "blank.jpg", "blank2.jpg", "blank3.jpg"}
    assert not crops & (others | {"african_elephants_truncated_file.jpg"})
    turned = "african_elephants_with_exif_orientation.jpg"
    box_of = {Path(row.path).name: row.box for row in read_table(table) if row.is_crop}
    one, other = box_of["african_elephants.jpg"], box_of[turned]
    assert one is not None and other is not None
    assert abs(one.x - other.x) < 20 and abs(one.y - other.y) < 20
    assert cv2.imread(str(data / "misc" / turned)) is not None
