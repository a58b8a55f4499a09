"""Where something is in a picture and what it is, in the words of Camtrap DP.

Does not cover where boxes come from: a file or a detector (edge/detection).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

ObservationType = Literal["animal", "human", "vehicle", "blank", "unclassified"]


class People(str, Enum):
    """What is kept of a person in a picture."""

    drop = "drop"  # nothing; grey where a person reaches into an animal's crop
    blur = "blur"  # a crop in which nobody can be known again
    keep = "keep"


_FARTHEST = 1e6  # pixels; no picture reaches so far, and far beyond it `crop` would overflow


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in a picture, left-top corner and size.

    `relative` boxes are fractions of the picture (MegaDetector, Camtrap DP); others are pixels
    (the wildlife-datasets `bbox` column).
    """

    x: float
    y: float
    width: float
    height: float
    relative: bool

    def to_relative(self, image_width: int, image_height: int) -> Box:
        if self.relative:
            return self
        return Box(
            x=self.x / image_width,
            y=self.y / image_height,
            width=self.width / image_width,
            height=self.height / image_height,
            relative=True,
        )


WHOLE_FRAME = Box(x=0.0, y=0.0, width=1.0, height=1.0, relative=True)


@dataclass(frozen=True, kw_only=True)
class FoundObject:
    """One animal, human or vehicle in one picture."""

    box: Box
    observation_type: ObservationType
    confidence: float | None  # the detector's, in [0, 1]; None for the whole frame
    frame_number: int | None = None  # of a clip, from 0; None: a picture, or the whole clip


WHOLE_FRAME_ANIMAL = FoundObject(box=WHOLE_FRAME, observation_type="animal", confidence=None)


def box_of(values: Iterable[Any], relative: bool) -> Box:
    """The box of four numbers [x, y, width, height].

    Raises ValueError, TypeError or OverflowError when they are none.
    """
    x, y, width, height = (float(value) for value in values)
    if not all(abs(side) <= _FARTHEST for side in (x, y, width, height)):  # NaN is not <=
        raise ValueError(f"a box of {x:g}, {y:g}, {width:g}, {height:g}")
    if not (width > 0 and height > 0):
        raise ValueError(f"a box {width:g} wide and {height:g} high")
    return Box(x=x, y=y, width=width, height=height, relative=relative)
