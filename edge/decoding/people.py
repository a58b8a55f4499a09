"""People in a picture, made unknowable before anything is cut out of it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.detect import Box, People
from edge.preprocess import Image

_GREY = 128
_MARGIN = 0.05  # of the box's sides: a detector's box leaves out a hand or some hair
_BLURRED_SIDE = 6  # pixels that are left of a person's longer side


def hide_people(image_HWC: Image, boxes: Sequence[Box], people: People) -> Image:
    """The picture with each box (relative) grey or blurred; the picture itself for `keep`.

    What the encoder sees is what is stored: nobody's coat is learned from somebody's jacket.
    """
    if people is People.keep or not boxes:
        return image_HWC
    hidden_HWC: Image = image_HWC.copy()
    height, width = hidden_HWC.shape[:2]
    for box in boxes:
        left = max(int((box.x - _MARGIN * box.width) * width), 0)
        top = max(int((box.y - _MARGIN * box.height) * height), 0)
        right = int(np.ceil((box.x + (1 + _MARGIN) * box.width) * width))
        bottom = int(np.ceil((box.y + (1 + _MARGIN) * box.height) * height))
        part = hidden_HWC[top : max(bottom, 0), left : max(right, 0)]
        if part.size:
            part[:] = _GREY if people is People.drop else _blurred(part)
    return hidden_HWC


def _blurred(part_HWC: Image) -> cv2.typing.MatLike:
    height, width = part_HWC.shape[:2]
    factor = _BLURRED_SIDE / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    few = cv2.resize(np.ascontiguousarray(part_HWC), size, interpolation=cv2.INTER_AREA)
    return cv2.resize(few, (width, height), interpolation=cv2.INTER_LINEAR)
