"""The same boxes as each program writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.decoding import decoder
from edge.detect import WHOLE_FRAME
from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError

from ..media_files import WANTED, clip, jpeg, scene
from .conftest import age, draw, save

WIDTH, HEIGHT = 640, 400
BOXES = [(64, 40, 320, 200), (400, 100, 160, 120)]  # x, y, width, height in pixels
NAMES = ["cam/1.jpg", "cam/2.jpg"]  # boxes in the first, a blank
CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}


def relative(box: tuple[int, int, int, int]) -> list[float]:
    x, y, width, height = box
    return [x / WIDTH, y / HEIGHT, width / WIDTH, height / HEIGHT]


def megadetector(name: Callable[[str], str] = str, **more: Any) -> dict[str, Any]:
    found = [{"category": "1", "conf": 0.9, "bbox": relative(box)} for box in BOXES]
    return {
        "info": {"format_version": "1.6"},
        "detection_categories": CATEGORIES,
        "images": [
            {"file": name(NAMES[0]), "detections": found},
            {"file": name(NAMES[1]), "detections": []},
        ],
    } | more


def addaxai() -> dict[str, Any]:
    """After its classifier: categories of species, the detector's own kept beside them."""
    content = megadetector(detection_categories={**CATEGORIES, "7": "red fox"})
    for one in content["images"][0]["detections"]:
        one |= {"category": "7", "prev_category": "1", "prev_conf": 0.9}
    return content | {"info": {"addaxai_metadata": {"version": "6.0"}}}


def speciesnet() -> dict[str, Any]:
    found = [
        {"category": "1", "label": "animal", "conf": 0.9, "bbox": relative(box)} for box in BOXES
    ]
    return {
        "predictions": [
            {"filepath": f"/data/june/{NAMES[0]}", "detections": found, "prediction": "x;;;;;;fox"},
            {"filepath": f"/data/june/{NAMES[1]}", "detections": []},
        ]
    }


def wildlife() -> dict[str, Any]:
    corners = [[x, y, x + width, y + height] for x, y, width, height in BOXES]
    seen = {"bbox": corners, "category": [0, 0], "confidence": [0.9, 0.8]}
    empty: dict[str, Any] = {"bbox": [], "category": [], "confidence": []}
    return {
        "annotations": [{"img_id": NAMES[0], **seen}, {"img_id": NAMES[1], **empty}],
        "categories": {"0": "animal", "1": "person", "2": "vehicle"},
    }


def coco() -> dict[str, Any]:
    sizes = {"width": WIDTH, "height": HEIGHT}
    boxes = [{"id": f"b{n}", "image_id": "i0", "category_id": 4, "bbox": list(box)}
             for n, box in enumerate(BOXES)]  # fmt: skip
    return {
        "images": [{"id": f"i{n}", "file_name": name, **sizes} for n, name in enumerate(NAMES)],
        "categories": [{"id": 0, "name": "empty"}, {"id": 4, "name": "zebra"}],
        "annotations": [*boxes, {"id": "e", "image_id": "i1", "category_id": 0}],
    }


def table() -> str:
    rows = [f'{n},{NAMES[0]},Anna,"{list(box)}"' for n, box in enumerate(BOXES)]
    return "\n".join(["image_id,path,identity,bbox", *rows]) + "\n"


VARIANTS: dict[str, Any] = {
    "megadetector": megadetector(),
    "megadetector 1.0": megadetector(info={}, detection_categories=CATEGORIES),
    "windows names": megadetector(lambda name: ".\\" + name.replace("/", "\\")),
    "absolute names": megadetector(lambda name: f"D:\\cards\\june\\{name}"),
    "addaxai": addaxai(),
    "speciesnet": speciesnet(),
    "pytorch-wildlife": wildlife(),
    "pytorch-wildlife for timelapse": megadetector(
        info={"detector": "megadetector_v5"}, detection_categories={"0": "x", "1": "animal"}
    ),
    "coco camera traps": coco(),
    "wildlife-datasets": table(),
}


def read(folder: Path, content: Any) -> BoxesFile:
    path = folder / "boxes"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    boxes = BoxesFile(path)
    boxes.fit(NAMES)
    return boxes


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_boxes_in_each_variant_give_the_same_crops_to_the_pixel(tmp_path, variant):
    data = jpeg(scene(WIDTH, HEIGHT))
    expected = cuts_of(data, read(tmp_path, VARIANTS["megadetector"]))
    cuts = cuts_of(data, read(tmp_path, VARIANTS[variant]))
    assert len(cuts) == 2
    for one, other in zip(cuts, expected, strict=True):
        assert one is not None and other is not None
        assert one.jpeg == other.jpeg
        assert np.array_equal(one.encoder_HWC, other.encoder_HWC)


def cuts_of(data: bytes, boxes: BoxesFile) -> tuple[Any, ...]:
    found = boxes.find(NAMES[0])
    assert found is not None
    assert boxes.find(NAMES[1]) == ([] if boxes.lists(NAMES[1]) else None)
    return decoder.decode(data, replace(WANTED, objects=tuple(found))).views[0].cuts


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"predictions": [{"filepath": "a.jpg", "detections": [{"conf": 1}]}]},
         r"entry 1 of 'predictions' \(a\.jpg\)"),
        ({"annotations": [{"img_id": "a.jpg", "bbox": [[1, 2, 3]], "category": [0],
                           "confidence": [1]}]}, r"entry 1 of 'annotations' \(a\.jpg\)"),
        (coco() | {"categories": []}, "entry 1 of 'annotations'.*a category_id of 'categories'"),
        ('path,bbox\na.jpg,"[1, 2, 3]"\n', r"line 2 cannot be read.*\[x, y, width, height\]"),
        ("name,species\na.jpg,fox\n", "SpeciesNet's predictions, PyTorch-Wildlife's or COCO"),
        (b"\xff\xfe\x00".decode("latin-1"), "is not JSON"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_named(tmp_path, content, told):
    with pytest.raises(InputError, match=told):
        read(tmp_path, content)


def test_names_that_fit_two_folders_are_refused(tmp_path):
    images = [{"file": f"/{card}/cam/1.jpg", "detections": []} for card in ("june", "july")]
    with pytest.raises(InputError, match=r"below /june/ and below /july/"):
        read(tmp_path, megadetector(images=images))


def test_a_label_of_a_person_without_a_box_is_the_whole_frame(tmp_path):
    content = coco()
    content["categories"].append({"id": 5, "name": "Homo sapiens"})
    content["annotations"] = [{"id": "p", "image_id": "i0", "category_id": 5}]
    boxes = read(tmp_path, content)
    (person,) = boxes.find(NAMES[0]) or []
    assert (person.observation_type, person.box.width) == ("human", 1.0)
    assert boxes.find(NAMES[1]) is None  # nobody annotated it


def test_rows_of_a_table_may_be_no_animals(tmp_path):
    rows = [
        'a.jpg,animal,"[1, 2, 30, 40]"',
        'a.jpg,human,"[5, 5, 10, 10]"',
        "b.jpg,blank,",
        "c.jpg,unclassified,",
        "d.jpg,,",
    ]
    path = tmp_path / "crops.csv"
    path.write_bytes("\n".join(["path,observation_type,bbox", *rows]).encode() + b"\ncaf\xe9.jpg,,")
    boxes = BoxesFile(path)
    assert [one.observation_type for one in boxes.find("a.jpg") or ()] == ["animal", "human"]
    assert boxes.find("b.jpg") == []
    assert boxes.find("c.jpg") is None
    assert boxes.lists("c.jpg")
    for whole in ("d.jpg", os.fsdecode(b"caf\xe9.jpg")):  # a name need not be UTF-8
        assert [one.box for one in boxes.find(whole) or ()] == [WHOLE_FRAME]
    path.write_text("path,observation_type,bbox\na.jpg,zebra,\n")
    with pytest.raises(InputError, match=r"line 2 cannot be read.*of animal, human"):
        BoxesFile(path)


def test_pictures_that_are_missing_and_left_over_are_counted(known, tmp_path):
    save(known.inbox / "cam" / "1.jpg", draw("A", shot=1))
    save(known.inbox / "cam" / "new.jpg", draw("A", shot=2))
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(megadetector(lambda name: f"/mnt/card/{name}")))
    ran = known.watch("--boxes", str(path))
    assert ran.code == 0, ran.err
    assert "1 picture of the 2 in the boxes file is not in the inbox" in ran.out
    assert "1 picture is not in the boxes file" in ran.out


def test_boxes_of_a_clip_belong_to_their_frames(known, tmp_path):
    path = known.inbox / "cam" / "clip.avi"
    path.parent.mkdir()
    path.write_bytes(clip([draw("A", "B", shot=n) for n in range(30)]))
    age(path)
    left, right = [0, 0, 0.5, 1], [0.5, 0, 0.5, 1]
    found = [
        {"category": "1", "conf": 0.5, "bbox": right, "frame_number": 3},
        {"category": "1", "conf": 0.9, "bbox": left, "frame_number": 7},  # of the same second
        {"category": "1", "conf": 0.9, "bbox": right, "frame_number": 25},
        {"category": "2", "conf": 0.9, "bbox": [0, 0, 0.1, 1], "frame_number": 25},
    ]
    images = [{"file": "cam/clip.avi", "frame_rate": 10.0, "detections": found}]
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(megadetector(images=images)))
    ran = known.watch("--boxes", str(boxes))
    assert ran.code == 0, ran.err
    rows = [(r["frame_ms"], r["observation_type"], r["best_name"]) for r in known.rows("media")]
    assert sorted(rows) == [
        ("2500", "animal", "B"), ("2500", "human", ""), ("700", "animal", "A"),
    ]  # fmt: skip
