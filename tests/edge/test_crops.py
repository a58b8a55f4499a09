"""The copy that is kept for people, and what it may cost."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.decoding.crops import CROP_LONGEST_SIDE, cut
from edge.preprocess import InputSpec

from ..media_files import scene

SPEC = InputSpec(height=64, width=64, resize="squash", pad_value=0)


@pytest.mark.parametrize(
    ("width", "height", "longest"),
    [
        (4000, 3000, 500),  # halved three times
        (1000, 750, 500),
        (922, 400, 461),
        (920, 400, 512),  # half of it would be too small
        (816, 612, 512),
        (513, 2001, 500),
        (512, 384, 512),  # as it is
        (300, 40, 300),
        (1101, 41, 512),
    ],
)
def test_the_copy_for_people_is_no_longer_than_it_may_be_and_shows_the_same(
    width: int, height: int, longest: int
) -> None:
    small_HWC = scene(max(width // 8, 2), max(height // 8, 2))  # so smooth that JPEG changes little
    crop_HWC = cv2.resize(small_HWC, (width, height), interpolation=cv2.INTER_CUBIC)
    copy_HWC = np.asarray(Image.open(io.BytesIO(cut(crop_HWC, None, SPEC).jpeg)))
    assert max(copy_HWC.shape[:2]) == longest <= CROP_LONGEST_SIDE
    size = (copy_HWC.shape[1], copy_HWC.shape[0])
    by_area = cv2.resize(crop_HWC, size, interpolation=cv2.INTER_AREA)
    assert np.abs(copy_HWC.astype(int) - by_area).mean() < 4
