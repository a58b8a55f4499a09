"""A drawn animal: its two coats and its posed body, seen from the side.

One species: the build and the colours are the same for all, only the coat tells two apart. A coat
is fixed to the body in its rest pose, so it moves with the limbs it lies on. Does not cover
light, scenery or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Flank = Literal["left", "right"]
Family = Literal["blotches", "stripes", "rosettes"]

BODY_HEIGHT, BODY_WIDTH = 224, 340  # pixels of the body canvas; the animal looks to the right
FEET = 206  # row of the body canvas on which the animal stands
_FAMILIES: tuple[Family, ...] = ("blotches", "stripes", "rosettes")
_FAMILY_WEIGHTS = (0.5, 0.25, 0.25)
_COVERAGE = 0.42  # share of the torso that is dark under blotches and stripes
_ROSETTE, _ROSETTE_HEART = 0.56, 0.16  # shares of the torso inside the rings' outer, inner edge
_TORSO_ROWS, _TORSO_COLUMNS = slice(54, 152), slice(62, 246)

# Outlines in the rest pose, (x, y) on the body canvas.
_TORSO = (
    (62, 96), (64, 74), (78, 59), (105, 55), (140, 60), (180, 57), (212, 52), (236, 62), (246, 84),
    (243, 116), (228, 140), (196, 151), (160, 150), (122, 144), (98, 146), (76, 132),
)  # fmt: skip
_NECK = ((206, 54), (238, 42), (262, 24), (282, 34), (280, 56), (262, 78), (246, 106), (222, 110))
_HEAD = (
    (260, 26), (272, 19), (288, 22), (304, 38), (315, 48), (314, 58), (300, 62), (280, 60),
    (264, 52),
)  # fmt: skip
_EAR = ((262, 30), (260, 8), (274, 22))
_TAIL = ((70, 64), (60, 66), (50, 84), (45, 116), (40, 140), (50, 142), (54, 118), (60, 92))
_HIND_THIGH = ((68, 84), (110, 84), (116, 112), (104, 144), (94, 168), (78, 168), (70, 136))
_HIND_SHANK = ((78, 158), (95, 158), (91, 184), (93, 206), (76, 206), (79, 184))
_FORE_THIGH = ((206, 90), (240, 90), (242, 118), (234, 144), (230, 168), (213, 168), (208, 134))
_FORE_SHANK = ((213, 158), (230, 158), (227, 184), (230, 206), (212, 206), (215, 184))


@dataclass(frozen=True, kw_only=True)
class Coat:
    """The two flanks of one individual: where it is dark, in [0, 1], on the body canvas."""

    family: Family
    left_HW: Floats
    right_HW: Floats

    def flank(self, flank: Flank) -> Floats:
        return self.left_HW if flank == "left" else self.right_HW


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How the limbs stand in one frame; angles in degrees, positive turns the part down."""

    gait: float  # phase of the step, radians
    stride: float  # largest swing of a leg; 0 stands still
    neck: float
    head: float
    tail: float


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and how large the body canvas lies in a frame, in pixels of the frame."""

    centre_x: float
    feet_y: float
    scale: float  # frame pixels per body pixel
    squash: float  # length seen over true length; below 1 where the animal turns away
    tilt: float  # degrees, positive goes downhill
    bend: float  # body pixels by which the ends hang below the middle
    taper: float  # growth of the front over the rear, as a fraction


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A drawn animal, cut to the part of the frame it can touch."""

    top: int
    left: int
    mark_HW: Floats  # darkness of the coat, in [0, 1]
    shade_HW: Floats  # light that falls on it, about 0.4 to 1.1
    alpha_HW: Floats  # in [0, 1]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One rigid part of the body in its rest pose; `top`, `left` place its pixels on the canvas."""

    top: int
    left: int
    alpha_HW: Bytes
    shade_HW: Bytes  # 200 is full light
    fixed_HW: Bytes  # dark marks that every animal has: hooves, eye, muzzle
    joint: tuple[float, float]


def draw_coat(rng: np.random.Generator) -> Coat:
    """An individual's coat: one family, two independent flanks."""
    family = _FAMILIES[int(rng.choice(len(_FAMILIES), p=_FAMILY_WEIGHTS))]
    return Coat(
        family=family, left_HW=_draw_pattern(family, rng), right_HW=_draw_pattern(family, rng)
    )


def _draw_pattern(family: Family, rng: np.random.Generator) -> Floats:
    if family == "stripes":
        noise_HW = _band_noise(rng, wavelength=30.0, stretch=2.6)
    else:
        noise_HW = _band_noise(rng, wavelength=36.0 if family == "blotches" else 46.0, stretch=1.0)
    torso_HW = noise_HW[_TORSO_ROWS, _TORSO_COLUMNS]
    softness = 0.12 * float(torso_HW.std())

    def above(share: float) -> Floats:
        level = float(np.quantile(torso_HW, 1.0 - share))
        return np.asarray(np.clip((noise_HW - level) / softness + 0.5, 0.0, 1.0), np.float32)

    if family == "rosettes":
        return above(_ROSETTE) - np.float32(0.85) * above(_ROSETTE_HEART)
    return above(_COVERAGE)


def _band_noise(rng: np.random.Generator, wavelength: float, stretch: float) -> Floats:
    """Noise of one wavelength (pixels along the body), drawn out `stretch` times from top down."""
    white_HW = rng.standard_normal((BODY_HEIGHT, BODY_WIDTH))
    down = np.fft.fftfreq(BODY_HEIGHT)[:, None] * stretch
    along = np.fft.rfftfreq(BODY_WIDTH)[None, :]
    distance = np.hypot(down, along) * wavelength - 1.0
    band = np.exp(-0.5 * (distance / 0.25) ** 2)
    noise_HW: Floats = np.fft.irfft2(np.fft.rfft2(white_HW) * band, white_HW.shape).astype(
        np.float32
    )
    return noise_HW


def pose_body(pattern_HW: Floats, pose: Pose) -> Bytes:
    """Mark, shade (both times alpha) and alpha of the posed animal.

    uint8 [BODY_HEIGHT, BODY_WIDTH, 3].
    """
    canvas_HW3: Bytes = np.zeros((BODY_HEIGHT, BODY_WIDTH, 3), np.uint8)
    marks_HW = (pattern_HW * 255.0).astype(np.uint8)
    parts = _parts()
    _put(canvas_HW3, parts["tail"], marks_HW, [(pose.tail, parts["tail"].joint)])
    for leg, phase in (("hind", np.pi), ("fore", 1.5 * np.pi)):
        _put_leg(canvas_HW3, leg, pose, phase, marks_HW, far=True)
    _put(canvas_HW3, parts["torso"], marks_HW, [])
    neck = (pose.neck, parts["neck"].joint)
    head = (pose.head, parts["head"].joint)
    _put(canvas_HW3, parts["ear"], marks_HW, [neck, head])
    _put(canvas_HW3, parts["neck"], marks_HW, [neck])
    _put(canvas_HW3, parts["head"], marks_HW, [neck, head])
    for leg, phase in (("hind", 0.0), ("fore", 0.5 * np.pi)):
        _put_leg(canvas_HW3, leg, pose, phase, marks_HW, far=False)
    return canvas_HW3


def _put_leg(
    canvas_HW3: Bytes, leg: str, pose: Pose, phase: float, pattern_HW: Bytes, *, far: bool
) -> None:
    """Swings thigh and shank; the shank folds back while the leg is lifted forwards."""
    thigh, shank = _parts()[f"{leg} thigh"], _parts()[f"{leg} shank"]
    swing = -pose.stride * np.sin(pose.gait + phase)
    lift = 1.3 * pose.stride * max(np.cos(pose.gait + phase), 0.0)
    upper, lower = (swing, thigh.joint), (lift, shank.joint)
    _put(canvas_HW3, shank, pattern_HW, [upper, lower], far=far)
    _put(canvas_HW3, thigh, pattern_HW, [upper], far=far)


def _put(
    canvas_HW3: Bytes,
    part: _Part,
    pattern_HW: Bytes,
    turns: list[tuple[float, tuple[float, float]]],
    far: bool = False,
) -> None:
    """Lays one part over the canvas after its turns (degrees, joint), the body's end first."""
    height, width = part.alpha_HW.shape
    rest_HW = pattern_HW[part.top : part.top + height, part.left : part.left + width]
    mark_HW = part.fixed_HW if far else np.maximum(rest_HW, part.fixed_HW)
    shade_HW = (part.shade_HW * 0.6).astype(np.uint8) if far else part.shade_HW
    pixels_HW3 = cv2.merge((mark_HW, shade_HW, part.alpha_HW))
    matrix = _turned(turns) @ _shift(part.left, part.top)
    corners = matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]])
    left, top = np.maximum(np.floor(corners[:2].min(axis=1)).astype(int), 0)
    right, bottom = np.minimum(
        np.ceil(corners[:2].max(axis=1)).astype(int) + 1, (BODY_WIDTH, BODY_HEIGHT)
    )
    matrix = _shift(-left, -top) @ matrix
    moved_HW3 = cv2.warpAffine(pixels_HW3, matrix[:2], (int(right - left), int(bottom - top)))
    under_HW3 = canvas_HW3[top:bottom, left:right]
    alpha_HW1 = moved_HW3[:, :, 2:].astype(np.uint16)
    moved_HW3[:, :, 2] = 255
    mixed_HW3 = (moved_HW3 * alpha_HW1 + under_HW3 * (255 - alpha_HW1) + 127) // 255
    under_HW3[:] = mixed_HW3


def _turned(turns: list[tuple[float, tuple[float, float]]]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for degrees, (x, y) in turns:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        matrix = matrix @ _shift(x, y) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        matrix = matrix @ _shift(-x, -y)
    return matrix


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


@lru_cache(maxsize=1)
def _parts() -> dict[str, _Part]:
    eye, muzzle = ((286, 33, 3),), ((311, 52, 7),)
    return {
        "torso": _cut(_TORSO, joint=(150, 96)),
        "neck": _cut(_NECK, joint=(226, 84)),
        "head": _cut(_HEAD, joint=(270, 42), dots=eye + muzzle),
        "ear": _cut(_EAR, joint=(270, 42), dots=((262, 14, 5),)),
        "tail": _cut(_TAIL, joint=(66, 70), dots=((45, 136, 11),)),
        "hind thigh": _cut(_HIND_THIGH, joint=(92, 100)),
        "hind shank": _cut(_HIND_SHANK, joint=(87, 164), dots=((78, 208, 9), (90, 208, 9))),
        "fore thigh": _cut(_FORE_THIGH, joint=(224, 104)),
        "fore shank": _cut(_FORE_SHANK, joint=(221, 164), dots=((215, 208, 9), (227, 208, 9))),
    }


def _cut(
    outline: tuple[tuple[int, int], ...],
    joint: tuple[float, float],
    dots: tuple[tuple[int, int, int], ...] = (),
) -> _Part:
    """A part from its outline, rounded off and shaded towards its edge."""
    mask_HW: Bytes = np.zeros((BODY_HEIGHT, BODY_WIDTH), np.uint8)
    cv2.fillPoly(mask_HW, [np.array(outline, np.int32)], 255, cv2.LINE_AA)
    alpha_HW = cv2.GaussianBlur(mask_HW, (0, 0), 2.5).astype(np.float32)
    alpha_HW = np.clip((alpha_HW - 127.5) * 3.0 + 127.5, 0, 255).astype(np.uint8)
    depth_HW = cv2.distanceTransform((alpha_HW > 127).astype(np.uint8), cv2.DIST_L2, 3)
    rows_H1 = np.arange(BODY_HEIGHT, dtype=np.float32)[:, None]
    shade_HW = (215.0 - 0.42 * rows_H1) * (0.72 + 0.28 * np.minimum(depth_HW / 12.0, 1.0))
    fixed_HW: Bytes = np.zeros_like(mask_HW)
    for x, y, radius in dots:
        cv2.circle(fixed_HW, (x, y), radius, 255, -1, cv2.LINE_AA)
    x, y, width, height = cv2.boundingRect(alpha_HW)
    window = (slice(y, y + height), slice(x, x + width))
    return _Part(
        top=y,
        left=x,
        alpha_HW=alpha_HW[window],
        shade_HW=shade_HW[window].astype(np.uint8),
        fixed_HW=fixed_HW[window],
        joint=joint,
    )


def place(body_HW3: Bytes, flank: Flank, at: Placement, frame: tuple[int, int]) -> Layer:
    """The posed body in a frame of (height, width) pixels; a left flank walks to the left."""
    reach_x = 0.5 * BODY_WIDTH * at.scale + 12
    reach_y = BODY_HEIGHT * at.scale + 24
    left, right = _clipped(at.centre_x - reach_x, at.centre_x + reach_x, frame[1])
    top, bottom = _clipped(at.feet_y - reach_y, at.feet_y + 0.15 * reach_y, frame[0])
    x_1W = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(at.centre_x)
    y_H1 = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(at.feet_y)
    forward_1W = x_1W if flank == "right" else -x_1W
    c, s = np.cos(np.radians(at.tilt)), np.sin(np.radians(at.tilt))
    along_HW = (forward_1W * c + y_H1 * s) / (at.scale * at.squash)
    ends_HW = along_HW / (0.5 * BODY_WIDTH)
    down_HW = (y_H1 * c - forward_1W * s) / (at.scale * (1.0 + at.taper * ends_HW))
    source_x = (along_HW + 0.5 * BODY_WIDTH).astype(np.float32)
    source_y = (down_HW - at.bend * ends_HW**2 + FEET).astype(np.float32)
    moved_HW3 = cv2.remap(body_HW3, source_x, source_y, cv2.INTER_LINEAR).astype(np.float32)
    alpha_HW = np.maximum(moved_HW3[:, :, 2], np.float32(1.0))  # mark, shade come times alpha
    return Layer(
        top=top,
        left=left,
        mark_HW=moved_HW3[:, :, 0] / alpha_HW,
        shade_HW=moved_HW3[:, :, 1] / alpha_HW * np.float32(255.0 / 200.0),
        alpha_HW=moved_HW3[:, :, 2] / 255.0,
    )


def _clipped(low: float, high: float, size: int) -> tuple[int, int]:
    """Whole pixels of [low, high) inside [0, size), at least one."""
    start = int(min(max(low, 0), size - 1))
    return start, int(min(max(high, start + 1), size))
