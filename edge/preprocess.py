"""From a decoded picture to the pixels an encoder sees: the only place where that is done.

Training, evaluation, export and the device all call these functions, so an embedding cannot
differ between them by its input. Normalisation is inside the model file.
"""

from __future__ import annotations

from collections.abc import Callable
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
    left, top, right, bottom = edges(box, width, height)
    return image_HWC[top:bottom, left:right]


def edges(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the box in whole pixels of a picture of that size."""
    relative = box.to_relative(width, height)
    left = min(max(round(relative.x * width), 0), width - 1)
    top = min(max(round(relative.y * height), 0), height - 1)
    right = min(max(round((relative.x + relative.width) * width), left + 1), width)
    bottom = min(max(round((relative.y + relative.height) * height), top + 1), height)
    return left, top, right, bottom


def resize(image_HWC: Image, spec: InputSpec) -> Image:
    """The picture at the encoder's size, uint8 [spec.height, spec.width, 3].

    Shrinks by area averaging (unfiltered bilinear shrinking aliases), enlarges bilinearly.
    """
    return _fitted(
        image_HWC.shape[:2], spec, lambda height, width: _scale(image_HWC, height, width)
    )


def resize_part(reduced_HWC: Image, box: Box, full_size: tuple[int, int], spec: InputSpec) -> Image:
    """What `resize` makes of `crop`, from a reduced copy of the picture of `full_size`.

    The size is (width, height) in pixels. The box's edges fall between the copy's pixels; these
    are shared out by area. Rounded to the copy's pixels instead, a crop would be shifted: cosine
    0.995 instead of 0.999 by MobileNetV2 on real pictures. The box must be larger in the copy than
    in the encoder's input.
    """
    left, top, right, bottom = edges(box, *full_size)
    down, across = reduced_HWC.shape[0] / full_size[1], reduced_HWC.shape[1] / full_size[0]

    def scale(height: int, width: int) -> Image:
        return _area(
            reduced_HWC, (top * down, bottom * down, height), (left * across, right * across, width)
        )

    return _fitted((bottom - top, right - left), spec, scale)


def _fitted(size: tuple[int, ...], spec: InputSpec, scale: Callable[[int, int], Image]) -> Image:
    """`scale(height, width)` of a picture of that size (height, width), padded where need be."""
    if spec.resize == "squash":
        return scale(spec.height, spec.width)
    height, width = size
    factor = min(spec.height / height, spec.width / width)
    inner_height = min(max(round(height * factor), 1), spec.height)
    inner_width = min(max(round(width * factor), 1), spec.width)
    top = (spec.height - inner_height) // 2
    left = (spec.width - inner_width) // 2
    padded: Image = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
    padded[top : top + inner_height, left : left + inner_width] = scale(inner_height, inner_width)
    return padded


def _area(
    image_HWC: Image, down: tuple[float, float, int], across: tuple[float, float, int]
) -> Image:
    """The part between these edges (first, last, pixels to make of it) by area averaging."""
    rows, weights_OH = _overlaps(*down, image_HWC.shape[0])
    columns, weights_PW = _overlaps(*across, image_HWC.shape[1])
    part = image_HWC[rows, columns].astype(np.float32)
    height, width = part.shape[:2]
    shrunk = (weights_OH @ part.reshape(height, width * 3)).reshape(-1, width, 3)
    means = np.einsum("owc,pw->opc", shrunk, weights_PW, optimize=True)
    return np.asarray(np.rint(means).clip(0, 255), np.uint8)


def _overlaps(
    first: float, last: float, count: int, size: int
) -> tuple[slice, NDArray[np.float32]]:
    """Which pixels lie between the edges, and how much of each belongs to each of `count` parts."""
    begin, end = max(int(first), 0), min(int(np.ceil(last)), size)
    parts = np.linspace(first, last, count + 1)
    pixels = np.arange(begin, end)
    shared = np.minimum(parts[1:, None], pixels + 1) - np.maximum(parts[:-1, None], pixels)
    weights = shared.clip(0)
    return slice(begin, end), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


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
