"""Crops and collections: what counts as a picture, a moment, a box, a label."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError
from edge.pictures import read_collection
from edge.preprocess import InputSpec, crop, resize
from trainer.bursts import find_bursts, worth_using
from trainer.data import load_crops

SPEC = InputSpec(height=32, width=48, resize="squash", pad_value=0)


def picture(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def table(folder: Path, *lines: str) -> Path:
    path = folder / "metadata.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_a_day_is_no_moment_and_makes_no_burst(tmp_path: Path) -> None:
    for index in range(4):
        picture(tmp_path / f"{index}.png", index)
    dates = ("2014-05-02", "2014-05-02", "2014", "2014-05-02 10:00:00")
    rows = [f"{index}.png,{date}" for index, date in enumerate(dates)]
    collection = read_collection(table(tmp_path, "path,date", *rows))
    moments = [one.captured_at for one in collection.pictures]
    assert moments == [None, None, None, datetime(2014, 5, 2, 10)]
    numbers = find_bursts(load_crops(collection, SPEC, None).facts)
    assert len(set(numbers.tolist())) == 4
    assert not worth_using(numbers)


def test_a_time_of_day_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="line 2: date '05/06/2014 10:22' is not like 2026-05-01"):
        read_collection(table(tmp_path, "path,date", "a.png,05/06/2014 10:22"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (",A,", "line 2: the row names no picture"),
        ("a.png,A,[1 2 3]", r"line 2: bbox .* is not \[x, y"),
        ('a.png,A,"[1e999, 0, 5, 5]"', "line 2: bbox .* has no area"),
        ('a.png,A,"[0, 0, 0, 5]"', "line 2: bbox .* has no area"),
        ("gone.png,A,", "gone.png, which is not there"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, words: str) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match=words):
        read_collection(table(tmp_path, "path,identity,bbox", row))


def test_a_table_without_paths_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'path' \(it has: file, who\)"):
        read_collection(table(tmp_path, "file,who", "a,b"))


def test_an_empty_identity_column_is_no_label(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert not read_collection(table(tmp_path, "path,identity", "a.png,")).labelled


def test_a_pixel_box_is_the_crop_it_names(tmp_path: Path) -> None:
    image = cv2.imread(str(picture(tmp_path / "a.png")))[:, :, ::-1]
    collection = read_collection(table(tmp_path, "path,bbox", 'a.png,"[10, 5, 30, 20]"'))
    crops = load_crops(collection, SPEC, None)
    np.testing.assert_array_equal(crops.images_NHWC[0], resize(image[5:25, 10:40], SPEC))
    box = crops.facts[0].box
    assert box is not None
    assert box.relative
    np.testing.assert_array_equal(resize(crop(image, box), SPEC), crops.images_NHWC[0])


def test_a_large_set_lives_in_a_file_and_is_the_same(world: Path, tmp_path: Path) -> None:
    collection = read_collection(world / "train")
    boxes = BoxesFile(world / "train-boxes.json")
    mapped = load_crops(collection, SPEC, boxes, cache_folder=tmp_path, max_bytes_in_memory=0)
    assert isinstance(mapped.images_NHWC, np.memmap)
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(
        mapped.images_NHWC, load_crops(collection, SPEC, boxes).images_NHWC
    )


def test_pictures_that_cannot_be_decoded_are_left_out_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "half.png").write_bytes(picture(tmp_path / "x.png", 1).read_bytes()[:500])
    (tmp_path / "text.jpg").write_text("not a picture")
    crops = load_crops(read_collection(tmp_path), SPEC, None)
    assert [fact.picture.name for fact in crops.facts] == ["good.png", "x.png"]
    assert [name for name, _ in crops.skipped] == ["half.png", "text.jpg"]
