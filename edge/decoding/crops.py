"""What is kept of an animal in a picture: pixels for the encoder and a small JPEG for people."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge import preprocess
from edge.decoding.quality import MIN_QUALITY, Quality, measure
from edge.detect import Box
from edge.preprocess import Image, InputSpec

CROP_LONGEST_SIDE = 512  # pixels
_JPEG_QUALITY = 90
MIN_SIDE = 8  # pixels; smaller crops show no coat


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Small copies, so that the whole picture can be let go of."""

    encoder_HWC: Image  # at the encoder's size
    jpeg: bytes
    quality: Quality
    usable: bool


def cut(image_HWC: Image, box: Box | None, spec: InputSpec) -> Cut:
    crop = preprocess.crop(image_HWC, box)
    quality = measure(crop, box)
    return Cut(
        encoder_HWC=preprocess.resize(crop, spec).copy(),
        jpeg=_to_jpeg(preprocess.fit_within(crop, CROP_LONGEST_SIDE)),
        quality=quality,
        usable=min(crop.shape[:2]) >= MIN_SIDE and quality.of_crop >= MIN_QUALITY,
    )


def _to_jpeg(image_HWC: Image) -> bytes:
    image = cv2.cvtColor(np.ascontiguousarray(image_HWC), cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return buffer.tobytes()
