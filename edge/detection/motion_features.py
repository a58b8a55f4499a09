"""What a small picture looks like whatever the light, and how far two of them are apart.

Four planes of a look: fine texture, coarse brightness, two colour ratios, all of logarithms, so
that light that brightens or dims a patch adds a constant there. Does not cover backgrounds
(`edge.detection.motion_background`) or what becomes of a difference (`edge.detection.motion`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.preprocess import Image

Plane = NDArray[np.float32]  # [height, width]
Planes = NDArray[np.float32]  # [4, height, width]: fine, coarse, red to green, blue to green
Mask = NDArray[np.uint8]  # [height, width], 0 or 1

_OFFSET = {2: 10.0, 4: 4.0}  # grey levels, by number of planes; below, noise is all there is
_COARSE = 15  # pixels; texture is finer than this, light is not
_LEAST_SPREAD = (0.02, 0.08, 0.008, 0.008)  # of a plane, without change
_CAPS = {2: (25.0, 25.0), 4: (25.0, 4.0, 25.0, 25.0)}  # of a plane at one pixel
_INFRARED_COLOUR = 5.0  # grey levels between channels, on average over the picture


def is_infrared(image_HWC: Image) -> bool:
    """Whether the picture has no colour, as those taken by infrared light have none."""
    red, green, blue = cv2.split(cv2.resize(image_HWC, (64, 48), interpolation=cv2.INTER_AREA))
    apart = cv2.mean(cv2.absdiff(red, green))[0] + cv2.mean(cv2.absdiff(blue, green))[0]
    return bool(apart < _INFRARED_COLOUR)


def planes_of(image_HWC: Image, infrared: bool) -> Planes:
    """The planes of a picture, float32 [4, height, width], or [2, height, width] of infrared."""
    table = np.log(np.arange(256, dtype=np.float32) + _OFFSET[2 if infrared else 4])
    smooth_HWC = cv2.GaussianBlur(image_HWC, (3, 3), 0)
    red, green, blue = (cv2.LUT(one, table) for one in cv2.split(smooth_HWC))
    bright = (red + green + blue) / 3.0
    coarse = cv2.blur(bright, (_COARSE, _COARSE))
    planes = np.empty((2 if infrared else 4, *image_HWC.shape[:2]), np.float32)
    np.subtract(bright, coarse, out=planes[0])
    planes[1] = coarse
    if not infrared:
        cv2.blur(red - green, (5, 5), dst=planes[2])
        cv2.blur(blue - green, (5, 5), dst=planes[3])
    return planes


def difference(one: Planes, other: Planes) -> Plane:
    """How unlike the two are at each pixel: about 1 where only noise and light changed.

    Each plane is measured in its own spread over the picture, so that a plane that changes
    everywhere (brightness under moving leaves, texture in the noise of a night) tells little.
    """
    num = len(one)
    total = np.zeros(one.shape[1:], np.float32)
    for at, cap in enumerate(_CAPS[num]):
        apart = one[at] - other[at]
        sample = apart[2::6, 2::6].ravel()
        middle = _middle(sample)
        spread = 1.4826 * _middle(np.abs(sample - middle))
        apart -= middle
        apart /= max(spread, _LEAST_SPREAD[at])
        np.multiply(apart, apart, out=apart)
        np.minimum(apart, cap, out=apart)
        total += apart
    total /= num
    return np.asarray(cv2.blur(total, (5, 5)), np.float32)


def in_light_of(one: Planes, other: Planes) -> Planes:
    """`other` as it would be by the light of `one`."""
    shifts = [_middle((b - a)[2::6, 2::6].ravel()) for a, b in zip(one, other, strict=True)]
    return np.asarray(other - np.array(shifts, np.float32)[:, None, None], np.float32)


def _middle(values: NDArray[np.float32]) -> float:
    return float(np.sort(values)[len(values) // 2])  # np.median takes ten times as long


def likeness(one: Planes, other: Planes) -> float:
    """Correlation of the two textures, in [-1, 1]: near 0 for two different views."""
    a, b = one[0][::2, ::2].ravel(), other[0][::2, ::2].ravel()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else 0.0
