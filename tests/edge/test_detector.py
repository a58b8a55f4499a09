"""Detectors of every layout, on graphs made here whose boxes are known; and one real one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.detect import Box, FoundObject
from edge.detection.detector import open_detector
from edge.errors import ConfigError, ModelError

from .conftest import Ran, block, number, save

HEIGHT, WIDTH = 64, 96  # of the input
NAMES = ["zebra", "person", "jeep", "chair"]
# Two zebras, a weaker copy of the first one, somebody, a chair that does not count, and noise.
ROWS: list[tuple[float, float, float, float, float, int]] = [
    (12.0, 20.0, 44.0, 52.0, 0.9, 0),
    (60.0, 16.0, 90.0, 48.0, 0.8, 0),
    (13.0, 21.0, 45.0, 53.0, 0.6, 2),
    (50.0, 24.0, 58.0, 56.0, 0.7, 1),
    (2.0, 2.0, 10.0, 10.0, 0.95, 3),
    (70.0, 50.0, 80.0, 60.0, 0.05, 0),
]


def node(op: str, inputs: Sequence[str], output: str, domain: str = "") -> bytes:
    body = b"".join(block(1, one) for one in inputs) + block(2, output) + block(4, op)
    return block(1, body + (block(7, domain) if domain else b""))


def tensor(name: str, values: NDArray[Any], extra: bytes = b"") -> bytes:
    kind = {"float32": 1, "int64": 7}[str(values.dtype)]
    dims = b"".join(number(1, size) for size in values.shape)
    return block(5, dims + number(2, kind) + block(8, name) + block(9, values.tobytes()) + extra)


def value(field: int, name: str, element: int, sizes: Sequence[int]) -> bytes:
    dims = b"".join(block(1, number(1, one)) for one in sizes)
    return block(field, block(1, name) + block(2, block(1, number(1, element) + block(2, dims))))


def model(graph: bytes, metadata: Mapping[str, str] | None = None, domain: str = "") -> bytes:
    opsets = block(8, number(2, 17)) + (
        block(8, block(1, domain) + number(2, 1)) if domain else b""
    )
    props = b"".join(block(14, block(1, k) + block(2, v)) for k, v in (metadata or {}).items())
    return number(1, 8) + block(7, graph + block(2, "made")) + opsets + props


def constant(
    outputs: Mapping[str, NDArray[Any]],
    shape: Sequence[int] = (1, 3, HEIGHT, WIDTH),
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A graph that gives the same whatever it sees."""
    kinds = {"float32": 1, "int64": 7}
    graph = b"".join(
        tensor(f"{name}_", values) + node("Identity", [f"{name}_"], name)
        for name, values in outputs.items()
    )
    graph += value(11, "images", 1, shape)
    for name, values in outputs.items():
        graph += value(12, name, kinds[str(values.dtype)], values.shape)
    return model(graph, metadata)


def describe(chosen: str, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "layout": chosen,
        "input": {
            "height": HEIGHT, "width": WIDTH, "colours": "rgb", "axes": "nchw", "divide_by": 255,
            "mean": [0, 0, 0], "std": [1, 1, 1], "resize": "letterbox", "pad": 114,
        },
        "classes": NAMES,
        "animals": ["zebra"],
        "people": ["person"],
        "vehicles": ["jeep"],
        "min_confidence": 0.2,
        "max_overlap": 0.45,
    }  # fmt: skip
    content["input"] |= changes.pop("input", {})
    return content | changes


def written(folder: Path, graph: bytes, content: dict[str, Any]) -> Path:
    path = folder / "d.onnx"
    path.write_bytes(graph)
    path.with_suffix(".json").write_text(json.dumps(content))
    return path


def f32(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def centre_size(row: Sequence[float]) -> list[float]:
    x0, y0, x1, y1 = row[:4]
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def scores(row: Sequence[float], num: int = len(NAMES)) -> list[float]:
    return [float(row[4]) if at == row[5] else 0.01 for at in range(num)]


def yolov5() -> dict[str, NDArray[Any]]:
    rows = [[*centre_size(r), 0.95, *(one / 0.95 for one in scores(r))] for r in ROWS]
    return {"output": f32([rows])}


def yolov8() -> dict[str, NDArray[Any]]:
    rows = f32([[*centre_size(r), *scores(r)] for r in ROWS])
    return {"output": np.ascontiguousarray(rows.T[None])}


def yolox() -> dict[str, NDArray[Any]]:
    """Each box told by the grid cell of stride 8 in which its centre lies."""
    cells = [(HEIGHT // s) * (WIDTH // s) for s in (8, 16, 32)]
    rows = np.zeros((sum(cells), 5 + len(NAMES)), np.float32)
    for r in ROWS:
        x, y, width, height = centre_size(r)
        column, line = int(x // 8), int(y // 8)
        while rows[line * (WIDTH // 8) + column].any():  # two centres in one cell
            column += 1
        rows[line * (WIDTH // 8) + column] = [
            x / 8 - column, y / 8 - line, np.log(width / 8), np.log(height / 8), 1.0, *scores(r),
        ]  # fmt: skip
    return {"output": rows[None]}


def fractions(row: Sequence[float]) -> list[float]:
    x, y, width, height = centre_size(row)
    return [x / WIDTH, y / HEIGHT, width / WIDTH, height / HEIGHT]


def single() -> list[tuple[float, float, float, float, float, int]]:
    """Without the weaker copy: these detectors suppress by themselves."""
    return [row for row in ROWS if row[4] != 0.6]


def rtdetr() -> dict[str, NDArray[Any]]:
    return {"output": f32([[[*fractions(r), *scores(r)] for r in single()]])}


def detr() -> dict[str, NDArray[Any]]:
    logits = []
    for r in single():
        shares = scores(r)
        logits.append(np.log([*shares, 1 - sum(shares) + 1e-6]))
    boxes = f32([[fractions(r) for r in single()]])
    return {"logits": f32([logits]), "boxes": boxes}


def detr_sigmoid() -> dict[str, NDArray[Any]]:
    """With four classes both outputs have four columns; the logits come first."""
    shares = np.array([scores(r) for r in single()])
    return {
        "logits": f32([np.log(shares / (1 - shares))]),
        "boxes": f32([[fractions(r) for r in single()]]),
    }


def nms() -> dict[str, NDArray[Any]]:
    return {"output": f32([[[*r[:5], r[5]] for r in single()]])}


def torchvision_parts() -> dict[str, NDArray[Any]]:
    return {
        "boxes": f32([r[:4] for r in single()]),
        "labels": np.array([r[5] for r in single()], np.int64),
        "scores": f32([r[4] for r in single()]),
    }


def parts_scores_first() -> dict[str, NDArray[Any]]:
    return {
        "scores": f32([[r[4] for r in single()]]),
        "labels": np.array([[r[5] for r in single()]], np.int64),
        "boxes": f32([[r[:4] for r in single()]]),
    }


LAYOUTS: list[tuple[str, Callable[[], dict[str, NDArray[Any]]]]] = [
    ("yolov5", yolov5),
    ("yolov8", yolov8),
    ("yolox", yolox),
    ("rtdetr", rtdetr),
    ("detr", detr),
    ("detr-sigmoid", detr_sigmoid),
    ("nms", nms),
    ("nms-parts", torchvision_parts),
    ("nms-parts", parts_scores_first),
]


@pytest.mark.parametrize(
    ("layout", "outputs"), LAYOUTS, ids=lambda one: getattr(one, "__name__", one)
)
def test_each_layout_gives_the_boxes_that_were_put_in(tmp_path, layout, outputs):
    detector = open_detector(written(tmp_path, constant(outputs()), describe(layout)))
    # 192 x 96 pixels letterboxed into 96 x 64: half its size, 8 grey rows above and below.
    found = detector.find(np.zeros((96, 192, 3), np.uint8))
    jeep = [one for one in found if one.observation_type == "vehicle"]
    if layout.startswith("yolo"):  # what overlaps is another type, and stays
        assert [round(one.confidence or 0, 2) for one in jeep] == [0.6]
    rest = [one for one in found if one.observation_type != "vehicle"]
    assert [(one.observation_type, round(one.confidence or 0, 2)) for one in rest] == [
        ("animal", 0.9), ("animal", 0.8), ("human", 0.7),
    ]  # fmt: skip
    expected = [
        ((left * 2) / 192, ((top - 8) * 2) / 96, (right - left) * 2 / 192, (bottom - top) * 2 / 96)
        for left, top, right, bottom, _, _ in (ROWS[0], ROWS[1], ROWS[3])
    ]
    assert np.allclose([corners(one.box) for one in rest], expected, atol=2e-3)


def corners(box: Box) -> tuple[float, float, float, float]:
    assert box.relative
    return box.x, box.y, box.width, box.height


def test_one_animal_that_looks_like_two_species_is_one_box(tmp_path):
    rows = [(*ROWS[0][:4], 0.5, 0), (*ROWS[0][:4], 0.7, 1)]
    graph = constant({"output": f32([[[*r[:5], r[5]] for r in rows]])})
    content = describe("nms", classes=["zebra", "horse"], animals=["zebra", "horse"])
    content |= {"people": [], "vehicles": []}
    (found,) = open_detector(written(tmp_path, graph, content)).find(
        np.zeros((64, 96, 3), np.uint8)
    )
    assert found.confidence == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("letterbox", (12 / 96, 12 / 48, 32 / 96, 32 / 48)),
        ("letterbox-top-left", (12 / 96, 20 / 48, 32 / 96, 28 / 48)),  # cut at the picture's end
        ("stretch", (12 / 96, 20 / 64, 32 / 96, 32 / 64)),
    ],
)
def test_where_the_picture_lies_in_the_input_is_taken_back(tmp_path, resize, expected):
    content = describe("nms", input={"resize": resize})
    detector = open_detector(written(tmp_path, constant(nms()), content))
    found = detector.find(np.zeros((48, 96, 3), np.uint8))
    assert np.allclose(corners(found[0].box), expected, atol=1e-6)


def brightness(channel_weights: Sequence[float], bias: float = 0.0) -> bytes:
    """Its one box is as sure as the weighted mean of the channels says: [1, 1, 6]."""
    project = np.zeros((3, 6), np.float32)
    project[:, 4] = channel_weights
    rest = f32([[10.0, 10.0, 30.0, 30.0, bias, 0.0]])
    axes = np.array([2, 3], np.int64)
    graph = (
        tensor("project", project) + tensor("rest", rest) + tensor("first", np.array([0], np.int64))
        + block(1, block(1, "images") + block(2, "mean") + block(4, "ReduceMean")
                + block(5, block(1, "axes") + b"".join(number(8, int(a)) for a in axes)
                        + number(20, 7))
                + block(5, block(1, "keepdims") + number(3, 0) + number(20, 2)))
        + node("MatMul", ["mean", "project"], "row") + node("Add", ["row", "rest"], "sum")
        + node("Unsqueeze", ["sum", "first"], "output")
        + value(11, "images", 1, (1, 3, HEIGHT, WIDTH)) + value(12, "output", 1, (1, 1, 6))
    )  # fmt: skip
    return model(graph)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 200 / 255),
        ({"colours": "bgr"}, 50 / 255),
        ({"divide_by": 400}, 0.5),
        ({"mean": [0.5, 0, 0], "std": [0.5, 1, 1]}, (200 / 255 - 0.5) / 0.5),
    ],
)
def test_pixels_arrive_as_the_description_says(tmp_path, changes, expected):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[...] = (200, 100, 50)
    content = describe("nms", input=changes, min_confidence=0)
    detector = open_detector(written(tmp_path, brightness((1, 0, 0)), content))
    (found,) = detector.find(image)
    assert found.confidence == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layout": "yolo"}, "layout is 'yolo', it must be one of yolov5, yolov8"),
        ({"classes": []}, "classes is empty"),
        ({"classes": ["a", "a"]}, "names a class twice"),
        ({"animals": ["tapir"]}, "animals names tapir, which is not in classes"),
        ({"people": ["zebra"]}, "zebra is in two of animals, people, vehicles"),
        ({"animals": [], "people": [], "vehicles": []}, "no class counts"),
        ({"min_confidence": 7}, "min_confidence is 7, it must be a number from 0 to 1"),
        ({"size": 3}, "has the unknown key size"),
        ({"input": {"pad": "grey"}}, "pad is 'grey'"),
        ({"input": {"std": [1, 0, 1]}}, "std must be greater than 0"),
        ({"input": {"mean": [1]}}, r"mean is \[1\], it must be three numbers"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path, change, told):
    path = written(tmp_path, constant(nms()), describe("nms", **change))
    with pytest.raises(ConfigError, match=told):
        open_detector(path)


def test_a_detector_without_its_description_says_how_to_get_one(tmp_path):
    (tmp_path / "d.onnx").write_bytes(constant(nms()))
    with pytest.raises(ConfigError, match=r"edge-admin detector check FILE\.onnx --on PICTURE"):
        open_detector(tmp_path / "d.onnx")


def test_outputs_of_another_layout_are_told_with_their_shapes_and_the_nearest(tmp_path):
    detector = open_detector(written(tmp_path, constant(yolov5()), describe("yolov8")))
    told = r"outputs are \[1, 6, 9\], which is not the layout yolov8: they would fit .* yolov5"
    with pytest.raises(ModelError, match=told):
        detector.find(np.zeros((64, 96, 3), np.uint8))


def test_classes_missing_from_the_description_are_told(tmp_path):
    content = describe("yolov5", classes=NAMES[:3])
    detector = open_detector(written(tmp_path, constant(yolov5()), content))
    with pytest.raises(ModelError, match="with 3 classes they fit no layout: check that every"):
        detector.find(np.zeros((64, 96, 3), np.uint8))
    content = describe("nms", classes=NAMES[:3])
    detector = open_detector(written(tmp_path, constant(nms()), content))
    with pytest.raises(ModelError, match="found a class 3, its JSON names only 3"):
        detector.find(np.zeros((64, 96, 3), np.uint8))


def test_an_input_of_another_size_than_described_is_refused(tmp_path):
    content = describe("nms", input={"height": 128})
    with pytest.raises(ModelError, match=r"takes tensor\(float\) \[1, 3, 64, 96\], its JSON says"):
        open_detector(written(tmp_path, constant(nms()), content))


def test_weights_elsewhere_and_foreign_operators_are_refused(tmp_path):
    outside = tensor("w", f32([1.0]), block(13, block(1, "location") + block(2, "/etc/passwd")))
    path = written(
        tmp_path, model(outside + value(11, "images", 1, (1, 3, 64, 96))), describe("nms")
    )
    with pytest.raises(ModelError, match="keeps weights outside its own file"):
        open_detector(path)
    foreign = node("Steal", ["images"], "output", "evil.com") + value(
        11, "images", 1, (1, 3, 64, 96)
    )
    path = written(tmp_path, model(foreign, domain="evil.com"), describe("nms"))
    with pytest.raises(ModelError, match=r"uses Steal of evil\.com"):
        open_detector(path)


# --- edge-admin detector check


def check(run: Callable[..., Ran], detector: Path, picture: Path) -> Ran:
    return run(
        "admin", "detector", "check", str(detector), "--on", str(picture),
        "--out", str(detector.with_name("drawn.jpg")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "metadata", "layout"),
    [
        (yolov5, {"names": "{0: 'zebra', 1: 'person', 2: 'jeep', 3: 'chair'}"}, "yolov5"),
        (rtdetr, {"names": "{0: 'zebra', 1: 'person', 2: 'jeep', 3: 'chair'}"}, "rtdetr"),
        (nms, {"names": "['zebra', 'person', 'jeep', 'chair']"}, "nms"),
        (yolox, {"names": "not a list"}, "yolox"),
    ],
)
def test_a_description_is_proposed_and_the_boxes_are_drawn(
    run, tmp_path, outputs, metadata, layout
):
    detector = tmp_path / "d.onnx"
    detector.write_bytes(constant(outputs(), metadata=metadata))
    picture = save(tmp_path / "p.jpg", np.zeros((96, 192, 3), np.uint8))
    ran = check(run, detector, picture)
    assert ran.code == 0, ran.err
    content = json.loads((tmp_path / "d.json").read_text())
    assert (content["layout"], content["input"]["height"]) == (layout, HEIGHT)
    if "zebra" in metadata["names"]:
        assert (content["people"], content["classes"]) == (["person"], NAMES)
        assert "animal  0.90  at 0.125, 0.250, size 0.333 x 0.667" in ran.out
    drawn = cv2.imread(str(tmp_path / "drawn.jpg"))
    assert drawn.shape == (96, 192, 3) and drawn.max() > 100
    again = check(run, detector, picture)  # what was corrected by hand stays
    assert "wrote" not in again.out and "animal" in again.out


def test_a_file_of_no_known_layout_is_told_with_its_shapes(run, tmp_path):
    detector = tmp_path / "d.onnx"
    detector.write_bytes(constant({"output": f32(np.zeros((2, 7, 7, 30)))}))
    ran = check(run, detector, save(tmp_path / "p.jpg", np.zeros((96, 192, 3), np.uint8)))
    assert ran.code == 1
    assert "its outputs are [2, 7, 7, 30], which fits no layout known here" in ran.err
    assert not (tmp_path / "d.json").exists()


# --- a published one


COCO_ANIMALS = [
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
]  # fmt: skip


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(width, 0.0) * max(height, 0.0)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


@pytest.mark.data
def test_yolox_nano_finds_real_animals(run, shared, tmp_path):
    """With the species of the place named, which lets the threshold be low: as "bear" it takes a
    piece of a blank for an animal at 0.18, and a heron that takes off is a bird at 0.13."""
    folder = shared / "camera-trap"
    detector = tmp_path / "yolox.onnx"
    detector.write_bytes((folder / "detector" / "yolox_nano_416.onnx").read_bytes())
    check(run, detector, folder / "speciesnet" / "african_elephants.jpg")
    description = detector.with_suffix(".json")
    content = json.loads(description.read_text())
    assert (content["layout"], content["animals"]) == ("yolox", COCO_ANIMALS)
    content |= {"animals": ["bird", "elephant"], "min_confidence": 0.1}
    description.write_text(json.dumps(content))
    opened = open_detector(detector)

    def find(name: str) -> list[FoundObject]:
        image = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
        return opened.find(image)

    with (folder / "boxes.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] in {"elephant", "heron"}]
    assert len(rows) == 4
    for row in rows:
        wanted = [float(row[key]) for key in ("x", "y", "width", "height")]
        found = [corners(one.box) for one in find(row["path"]) if one.observation_type == "animal"]
        assert max(overlap(one, wanted) for one in found) >= 0.5, row["path"]
    for name in ("blank", "blank2", "blank3"):
        assert find(f"speciesnet/{name}.jpg") == []
    assert {one.observation_type for one in find("speciesnet/human.jpg")} == {"human"}
