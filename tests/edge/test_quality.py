from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import media
from edge.decide import rank
from edge.decoding.crops import cut
from edge.decoding.quality import MIN_QUALITY, measure, score
from edge.detect import Box
from edge.preprocess import InputSpec

from .conftest import draw


def box(x, y, width, height):
    return Box(x=x, y=y, width=width, height=height, relative=True)


def sharp(side=128):
    return draw("A", side=side)


WORSE = {
    "small": (lambda image: image[:40, :40], None),
    "blurred": (lambda image: cv2.GaussianBlur(image, (0, 0), 6), None),
    "burnt out": (lambda image: np.where(image > 90, 255, image).astype(np.uint8), None),
    "without contrast": (lambda image: (image // 32 + 100).astype(np.uint8), None),
    "cut by the border": (lambda image: image, box(0.0, 0.2, 0.5, 0.5)),
}


@pytest.mark.parametrize("kind", WORSE)
def test_a_worse_crop_counts_less(kind):
    change, where = WORSE[kind]
    good = measure(sharp(), box(0.2, 0.2, 0.5, 0.5)).of_crop
    assert measure(change(sharp()), where).of_crop < 0.9 * good
    assert 0.3 < good <= 1.0


def test_the_same_picture_larger_is_not_worse():
    sides = [measure(sharp(side), None).of_crop for side in (128, 512)]
    assert sides[1] >= 0.8 * sides[0]


def test_an_unsure_box_and_a_damaged_file_count_less():
    good = measure(sharp(), None)
    assert score(good, None, damaged=False) == good.of_crop
    assert score(good, 0.3, damaged=False) < score(good, 0.9, damaged=False) < good.of_crop
    assert score(good, 0.9, damaged=True) == 0.5 * score(good, 0.9, damaged=False)


def test_a_crop_without_anything_on_it_is_unusable():
    spec = InputSpec(height=8, width=8, resize="squash", pad_value=0)
    grey = np.full((64, 64, 3), 120, np.uint8)
    assert not cut(grey, None, spec).usable
    assert cut(grey, None, spec).quality.of_crop < MIN_QUALITY
    assert cut(sharp(), None, spec).usable


def test_a_frame_of_low_quality_hardly_moves_the_event():
    #                A    B
    frames = [[0.9, 0.2], [0.1, 0.8]]
    assert rank(["A", "B"], np.array(frames), [0.9, 0.1]).individual_ids[0] == "A"
    assert rank(["A", "B"], np.array(frames), [0.1, 0.9]).individual_ids[0] == "B"
    assert rank(["A", "B"], np.array(frames), [0.0, 0.0]).similarities == pytest.approx((0.5, 0.5))


@pytest.mark.data
@pytest.mark.parametrize("name", ["holstein", "opencows"])
def test_real_crops_count_less_when_blurred(shared: Path, name: str):
    with (shared / "data" / name / "metadata.csv").open(newline="") as file:
        paths = [shared / "data" / name / row["path"] for row in list(csv.DictReader(file))[:40]]
    lower = 0
    for path in paths:
        image = media.decode(media.read_bytes(path)).image_HWC
        blurred = cv2.GaussianBlur(image, (0, 0), max(image.shape) / 40)
        lower += measure(blurred, None).of_crop < 0.8 * measure(image, None).of_crop
    assert lower >= 38
