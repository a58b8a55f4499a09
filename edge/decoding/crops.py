"""What is kept of an animal in a picture: pixels for the encoder and a small JPEG for people."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import preprocess
from edge.decoding.quality import MIN_QUALITY, Quality, measure
from edge.detect import Box
from edge.preprocess import Image, InputSpec

CROP_LONGEST_SIDE = 512  # pixels
_ENOUGH = 0.9  # of that side
_JPEG_QUALITY = 90
MIN_SIDE = 8  # pixels; smaller crops show no coat


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Small copies, so that the whole picture can be let go of."""

    encoder_HWC: Image  # at the encoder's size
    jpeg: bytes
    quality: Quality
    usable: bool
    emb_D: NDArray[np.float32] | None = None  # unit length; the decoder knows no encoder


def cut(
    image_HWC: Image, box: Box | None, spec: InputSpec, full_size: tuple[int, int] | None = None
) -> Cut:
    """Of a whole picture, or of a reduced copy of one of `full_size` (width, height) in pixels."""
    crop = preprocess.crop(image_HWC, box)
    shown = _for_people(crop)
    quality = measure(crop, box, shown)
    return Cut(
        encoder_HWC=_for_encoder(image_HWC, crop, box, spec, full_size),
        jpeg=_to_jpeg(shown),
        quality=quality,
        usable=min(crop.shape[:2]) >= MIN_SIDE and quality.of_crop >= MIN_QUALITY,
    )


def _for_encoder(
    image_HWC: Image,
    crop: Image,
    box: Box | None,
    spec: InputSpec,
    full_size: tuple[int, int] | None,
) -> Image:
    """As from the whole picture, also where its edges fall between the copy's pixels."""
    is_part = box is not None and crop.shape[:2] != image_HWC.shape[:2]
    is_larger = crop.shape[0] > spec.height and crop.shape[1] > spec.width
    is_reduced = full_size is not None and image_HWC.shape[:2] != full_size[::-1]
    if box is not None and full_size is not None and is_part and is_larger and is_reduced:
        return preprocess.resize_part(image_HWC, box, full_size, spec)
    small_HWC: Image = preprocess.resize(crop, spec).copy()
    return small_HWC


def _for_people(crop_HWC: Image) -> Image:
    """A copy about as long as CROP_LONGEST_SIDE and no longer; a smaller crop as it is.

    Halved as often as that is not too small, the rest bilinearly: of what is at most 1.8 times as
    long it leaves nothing out, and area averaging by such a factor takes seven times as long.
    """
    copy: cv2.typing.MatLike = crop_HWC
    while max(copy.shape[:2]) >= 2 * _ENOUGH * CROP_LONGEST_SIDE:
        height, width = (max(side // 2, 1) for side in copy.shape[:2])
        even = copy[: 2 * height, : 2 * width]  # halving an odd side takes far longer
        copy = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    factor = CROP_LONGEST_SIDE / max(copy.shape[:2])
    if factor < 1:
        height, width = (max(round(side * factor), 1) for side in copy.shape[:2])
        copy = cv2.resize(copy, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(copy, np.uint8)


def _to_jpeg(image_HWC: Image) -> bytes:
    image = cv2.cvtColor(np.ascontiguousarray(image_HWC), cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return buffer.tobytes()
