"""How good a crop is to tell an animal by: a number in [0, 1] and what it is made of.

Every part is a factor in [0, 1]; the quality is their product. It weighs a frame within its event
and is the bound below which nobody should be named by it; it is no probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.detect import Box
from edge.preprocess import Image, halved

MIN_QUALITY = 0.02  # below: unidentifiable
_SIDE = 96  # pixels; blur is measured at this longest side, whatever the crop's size
_ENOUGH_PIXELS = 128.0  # root of the area from which more pixels add nothing
_HALF_SHARP = 0.1  # Laplacian to grey variance at which sharpness counts half
_DAMAGED = 0.5
_CUT_SIDE = 0.85  # for each side of the box at the picture's edge
_COLOURLESS = 4.0  # of 255: mean spread of red, green and blue that JPEG leaves in a grey picture
_EDGE = 0.004  # of the picture's side


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What the pixels say; all in [0, 1], 1 is best."""

    pixels: float
    sharpness: float
    exposure: float
    whole: float  # less where the picture's border cuts the animal

    @property
    def of_crop(self) -> float:
        return self.pixels * self.sharpness * self.exposure * self.whole


def measure(crop_HWC: Image, box: Box | None, copy_HWC: Image | None = None) -> Quality:
    """Of a crop (uint8 RGB) at its own size; `box` is where it lay, None: the whole picture.

    Where there is a smaller copy, of at least 96 pixels, it tells as much in less time.
    """
    height, width = crop_HWC.shape[:2]
    grey_HW = _grey(crop_HWC if copy_HWC is None else copy_HWC)
    return Quality(
        pixels=min(1.0, float(np.sqrt(height * width)) / _ENOUGH_PIXELS),
        sharpness=_sharpness(grey_HW),
        exposure=_exposure(grey_HW),
        whole=_whole(box),
    )


def is_infrared(crop_HWC: Image) -> bool:
    """Whether a picture (uint8 RGB) has no colour, as one by a camera's infrared flash."""
    small_HWC = cv2.resize(crop_HWC, (32, 32), interpolation=cv2.INTER_AREA).astype(np.int16)
    return float(np.ptp(small_HWC, axis=2).mean()) < _COLOURLESS


def score(quality: Quality, confidence: float | None, damaged: bool) -> float:
    """The quality of a detection: of its crop, its box (None: no detector) and its file."""
    sure = 1.0 if confidence is None else 0.5 + 0.5 * min(max(confidence, 0.0), 1.0)
    return quality.of_crop * sure * (_DAMAGED if damaged else 1.0)


def _grey(crop_HWC: Image) -> cv2.typing.MatLike:
    """At the fixed scale; a smaller crop is not enlarged, as that only blurs it."""
    height, width = crop_HWC.shape[:2]
    factor = min(1.0, _SIDE / max(height, width))
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    grey_HW = cv2.cvtColor(np.ascontiguousarray(crop_HWC), cv2.COLOR_RGB2GRAY)
    grey_HW = halved(np.asarray(grey_HW, np.uint8), size[1], size[0])
    return cv2.resize(grey_HW, size, interpolation=cv2.INTER_AREA)


def _sharpness(grey_HW: cv2.typing.MatLike) -> float:
    """Laplacian variance (Pech-Pacheco et al. 2000) over grey variance: contrast cancels out."""
    variance = float(grey_HW.var())
    if variance < 1.0:
        return 0.0
    ratio = float(cv2.Laplacian(grey_HW, cv2.CV_32F).var()) / variance
    return ratio / (ratio + _HALF_SHARP)


def _exposure(grey_HW: cv2.typing.MatLike) -> float:
    """The share of pixels neither black nor white, times contrast up to a fair one."""
    burnt = float((grey_HW >= 254).mean())
    contrast = min(1.0, float(grey_HW.std()) / 16.0)
    return (1.0 - burnt) * contrast


def _whole(box: Box | None) -> float:
    if box is None or not box.relative or (box.width > 0.99 and box.height > 0.99):
        return 1.0
    sides = (box.x, box.y, 1 - box.x - box.width, 1 - box.y - box.height)
    return float(_CUT_SIDE ** sum(side <= _EDGE for side in sides))
