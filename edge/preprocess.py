"""From a decoded picture to the pixels an encoder sees: the only place where that is done.

Training, evaluation, export and the device all call these functions, so an embedding cannot
differ between them by its input. Normalisation is inside the model file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.detect import Box

Image = NDArray[np.uint8]  # [height, width, 3], RGB


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The picture an encoder expects, in pixels."""

    height: int
    width: int
    resize: Literal["squash", "letterbox"]
    pad_value: int  # grey level around a letterboxed picture, 0 to 255


def crop(image_HWC: Image, box: Box | None) -> Image:
    """The part of the picture inside the box, at least one pixel wide and high."""
    if box is None:
        return image_HWC
    height, width = image_HWC.shape[:2]
    relative = box.to_relative(width, height)
    left = min(max(round(relative.x * width), 0), width - 1)
    top = min(max(round(relative.y * height), 0), height - 1)
    right = min(max(round((relative.x + relative.width) * width), left + 1), width)
    bottom = min(max(round((relative.y + relative.height) * height), top + 1), height)
    return image_HWC[top:bottom, left:right]


def resize(image_HWC: Image, spec: InputSpec) -> Image:
    """The picture at the encoder's size, uint8 [spec.height, spec.width, 3].

    Shrinks by area averaging (unfiltered bilinear shrinking aliases), enlarges bilinearly.
    """
    if spec.resize == "squash":
        return _scale(image_HWC, spec.height, spec.width)
    height, width = image_HWC.shape[:2]
    factor = min(spec.height / height, spec.width / width)
    inner_height = min(max(round(height * factor), 1), spec.height)
    inner_width = min(max(round(width * factor), 1), spec.width)
    top = (spec.height - inner_height) // 2
    left = (spec.width - inner_width) // 2
    padded: Image = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
    padded[top : top + inner_height, left : left + inner_width] = _scale(
        image_HWC, inner_height, inner_width
    )
    return padded


def fit_within(image_HWC: Image, longest_side: int) -> Image:
    """The picture shrunk, if need be, so that neither side is longer than `longest_side` pixels."""
    height, width = image_HWC.shape[:2]
    factor = longest_side / max(height, width)
    if factor >= 1.0:
        return image_HWC
    return _scale(image_HWC, max(round(height * factor), 1), max(round(width * factor), 1))


def halved(image: Image, height: int, width: int) -> Image:
    """The picture, coloured or grey, halved while that is exact and leaves twice this size.

    The mean of four pixels is ten times as fast as area averaging by any other factor. Less than
    twice the size would not do: half a pixel's blur is then seen (cosine 0.992 instead of 0.9994
    by MobileNetV2 on real pictures).
    """
    while (
        image.shape[0] % 2 == 0
        and image.shape[1] % 2 == 0
        and image.shape[0] >= 4 * height
        and image.shape[1] >= 4 * width
    ):
        size = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image


def _scale(image_HWC: Image, height: int, width: int) -> Image:
    """Each axis shrinks by area or grows bilinearly; INTER_AREA alone would enlarge blockily."""
    shrunk_height = min(image_HWC.shape[0], height)
    shrunk_width = min(image_HWC.shape[1], width)
    scaled: cv2.typing.MatLike = halved(np.ascontiguousarray(image_HWC), height, width)
    if (shrunk_height, shrunk_width) != scaled.shape[:2]:
        scaled = cv2.resize(scaled, (shrunk_width, shrunk_height), interpolation=cv2.INTER_AREA)
    if (height, width) != (shrunk_height, shrunk_width):
        scaled = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(scaled, dtype=np.uint8)
