"""Boxes around what is new before a camera, told apart by whether it moves within its event.

Does not cover how new or how moving a pixel is (`edge.detection.motion`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.detect import Box, FoundObject
from edge.detection.motion_features import Mask, Plane

_NEW, _MOVES = 4.5, 5.0  # differences from which a pixel is new, or moves
_REACH = 0.024  # of the picture's width: how far from what moves its body may be
_LEAST_AREA = 0.003  # of the picture
_JOIN = 0.014  # of the picture's width: parts of one animal are less than twice that apart
_RIM = 0.5  # of a region's mean difference; less is around the animal, not of it
_ALONE, _LEAST_ALONE = 7.0, 0.2  # strength that no other frame explains; of a region's pixels
_AROUND = 5  # pixels around those
_TOO_LARGE, _A_LITTLE_MORE = 1.2, 1.05  # of what is usual for an animal in its burst
# Strengths (mean difference times the root of the share of the picture) believed by half. What
# stands still all through an event may be a branch: it must be six times as strong.
_DOUBT_MOVING, _DOUBT_STILL = 1.1, 6.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Of each pixel, in units of what is usual there."""

    new: Plane  # difference from the background
    moves: Plane | None  # from other frames of the event; None: there is no other
    alone: Plane | None  # the least of the latter

    @property
    def strength(self) -> Plane:
        """How surely something is at a pixel that is in no other frame."""
        return self.new if self.alone is None else np.minimum(self.new, 1.5 * self.alone)


def find_objects(seen: Seen) -> tuple[FoundObject, ...]:
    """What is new, surest first, with relative boxes."""
    new: Mask = (seen.new > _NEW).astype(np.uint8)
    if seen.moves is None:
        objects = _boxes(_tidy(new), seen.new, _DOUBT_MOVING)
    else:
        moves = new & (seen.moves > _MOVES).astype(np.uint8)
        moves = _open(moves, 3)
        reach = _kernel(2 * int(_REACH * new.shape[1]) + 1)
        near = np.asarray(cv2.dilate(moves, reach), np.uint8)
        strength = np.minimum(seen.new, 1.5 * seen.moves)
        objects = _boxes(_tidy(new & near), strength, _DOUBT_MOVING, seen.strength)
        objects += _boxes(_tidy(new & (1 - near)), seen.new, _DOUBT_STILL)
    return tuple(sorted(objects, key=lambda one: (-(one.confidence or 0.0), one.box.x)))


def _boxes(
    mask: Mask, strength: Plane, doubt: float, alone: Plane | None = None
) -> list[FoundObject]:
    height, width = mask.shape
    joined = cv2.dilate(mask, _kernel(2 * int(_JOIN * width) + 1))
    num, labels = cv2.connectedComponents(joined, connectivity=8)
    areas = np.bincount(labels[mask > 0], minlength=num)
    objects = []
    for label in range(1, num):
        share = float(areas[label]) / (height * width)
        if share < _LEAST_AREA:
            continue
        mine: Mask = ((labels == label) & (mask > 0)).astype(np.uint8)
        strong = cv2.mean(strength, mine)[0] * share**0.5
        confidence = strong / (strong + doubt)
        core = _core(mine, strength)
        if alone is not None:
            core = _without_others(mine, core, alone)
        box = _relative(cv2.boundingRect(core), height, width)
        objects.append(FoundObject(box=box, observation_type="animal", confidence=confidence))
    return objects


def _without_others(mine: Mask, core: Mask, alone: Plane) -> Mask:
    """The core where no other frame shows the same, and a little around that.

    What stands before the animal is new as well, and where the animal stands in another frame
    moves as well. Of what hardly moves too little is left: then it is the core.
    """
    surely = _tidy(mine & (alone > _ALONE).astype(np.uint8))
    if surely.sum() < _LEAST_ALONE * mine.sum():
        return core
    return np.asarray(cv2.dilate(surely, _kernel(2 * _AROUND + 1)), np.uint8) & core


def trim(box: Box, strength: Plane, width: float, height: float) -> Box:
    """The strongest part of a box that is much wider or higher than what is usual for it."""
    num_rows, num_cols = strength.shape
    left, top = round(box.x * num_cols), round(box.y * num_rows)
    right, bottom = (
        round((box.x + box.width) * num_cols),
        round((box.y + box.height) * num_rows),
    )
    if box.width > _TOO_LARGE * width:
        left, right = _strongest(strength[top:bottom].sum(axis=0), left, right, width * num_cols)
    if box.height > _TOO_LARGE * height:
        across = strength[:, left:right].sum(axis=1)
        top, bottom = _strongest(across, top, bottom, height * num_rows)
    return _relative((left, top, right - left, bottom - top), num_rows, num_cols)


def _strongest(sums: Plane, begin: int, end: int, usual: float) -> tuple[int, int]:
    """The stretch of about the usual length, between the two ends, that holds most."""
    length = min(round(_A_LITTLE_MORE * usual), end - begin)
    running = np.concatenate([[0.0], np.cumsum(sums[begin:end])])
    at = begin + int(np.argmax(running[length:] - running[: len(running) - length]))
    return at, at + length


def _core(mine: Mask, strength: Plane) -> Mask:
    """The region without its weak rim: ripples around a wader, grass that an animal brushes."""
    weak = _RIM * cv2.mean(strength, mine)[0]
    core = _tidy(mine & (strength > weak).astype(np.uint8))
    return core if core.any() else mine


def _relative(rectangle: tuple[int, int, int, int] | cv2.typing.Rect, rows: int, cols: int) -> Box:
    left, top, wide, high = rectangle
    return Box(x=left / cols, y=top / rows, width=wide / cols, height=high / rows, relative=True)


def _tidy(mask: Mask) -> Mask:
    """Holes filled, specks gone."""
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _kernel(7))
    return _open(np.asarray(closed, np.uint8), 5)


def _open(mask: Mask, size: int) -> Mask:
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, _kernel(size)), np.uint8)


def _kernel(size: int) -> Mask:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
