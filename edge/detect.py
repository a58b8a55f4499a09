"""Where the animal is in a picture: boxes from a MegaDetector JSON, or the whole frame.

Does not cover running a detector on the device.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from edge.errors import InputError
from edge.text import printable

ObservationType = Literal["animal", "human", "vehicle", "blank", "unclassified"]

# MegaDetector's category names to the Camtrap DP observation types.
_TYPE_OF_CATEGORY: dict[str, ObservationType] = {
    "animal": "animal",
    "person": "human",
    "human": "human",
    "vehicle": "vehicle",
}


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


class BoxesFile:
    """The boxes of a MegaDetector batch JSON, looked up by the picture's path in its folder."""

    def __init__(self, path: Path, min_confidence: float = 0.2) -> None:
        """Raises InputError when the file is not such a JSON."""
        content = _read_json(path)
        self.path = path
        self._objects: dict[str, list[FoundObject] | None] = {}  # None: the detector failed
        for number, entry in enumerate(content.images, start=1):
            try:
                seen = _read_entry(entry, content.categories)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise InputError(
                    f"{path}: entry {number} of 'images'{_name_of(entry)} cannot be read "
                    f"({error!r}): each needs file and detections, and each detection category, "
                    "conf and bbox [x, y, width, height] in fractions of the picture; run the "
                    "detector again"
                ) from error
            self._objects[seen.file] = (
                None
                if seen.objects is None
                else [one for one in seen.objects if (one.confidence or 0.0) >= min_confidence]
            )

    def __len__(self) -> int:
        return len(self._objects)

    def lists(self, relative_path: str) -> bool:
        """Whether the JSON names the picture, with or without success."""
        return _tidy(relative_path) in self._objects

    @property
    def example(self) -> str | None:
        """A name as the JSON writes it; None where it names no picture."""
        return next(iter(self._objects), None)

    def find(self, relative_path: str) -> list[FoundObject] | None:
        """What is in the picture: a list (empty for a blank).

        None where the JSON lacks the picture, or says that the detector failed on it.
        """
        return self._objects.get(_tidy(relative_path))


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


@dataclass(frozen=True, kw_only=True)
class _Content:
    images: list[Any]
    categories: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    file: str
    objects: list[FoundObject] | None  # None: the detector failed on the picture


def _tidy(relative_path: str) -> str:
    return relative_path.replace("\\", "/").removeprefix("./")


def _read_json(path: Path) -> _Content:
    advice = "give a MegaDetector batch JSON (it has a list named 'images')"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read the boxes file {path}: {error.strerror}; {advice}"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); {advice}") from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise InputError(f"{path} has no list named 'images'; {advice}")
    categories = content.get("detection_categories", {})
    if not isinstance(categories, dict):
        raise InputError(f"{path}: 'detection_categories' is not an object; {advice}")
    return _Content(images=content["images"], categories=categories)


def _name_of(entry: object) -> str:
    """For a sentence: the entry's file, where it tells one."""
    file = entry.get("file") if isinstance(entry, dict) else None
    return f" ({printable(file)})" if isinstance(file, str) else ""


def _read_entry(entry: Any, categories: dict[str, Any]) -> _Entry:
    file, detections = entry["file"], entry.get("detections")
    if not isinstance(file, str):
        raise TypeError(f"file is {file!r}")
    if entry.get("failure") or detections is None:
        return _Entry(file=_tidy(file), objects=None)
    if not isinstance(detections, list):
        raise TypeError("detections is not a list")
    return _Entry(file=_tidy(file), objects=[_found_object(one, categories) for one in detections])


def _found_object(detection: Any, categories: dict[str, Any]) -> FoundObject:
    key = str(detection["category"])
    confidence = float(detection["conf"])
    if not math.isfinite(confidence):
        raise ValueError(f"conf is {confidence}")
    return FoundObject(
        box=box_of(detection["bbox"], relative=True),
        observation_type=_TYPE_OF_CATEGORY.get(
            str(categories.get(key, key)).lower(), "unclassified"
        ),
        confidence=confidence,
    )
