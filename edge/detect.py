"""Where the animal is in a picture: boxes from a MegaDetector JSON, or the whole frame.

Does not cover running a detector on the device.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge.errors import InputError

ObservationType = Literal["animal", "human", "vehicle", "blank", "unclassified"]

# MegaDetector's category names to the Camtrap DP observation types.
_TYPE_OF_CATEGORY: dict[str, ObservationType] = {
    "animal": "animal",
    "person": "human",
    "human": "human",
    "vehicle": "vehicle",
}


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


WHOLE_FRAME_ANIMAL = FoundObject(box=WHOLE_FRAME, observation_type="animal", confidence=None)


class BoxesFile:
    """The boxes of a MegaDetector batch JSON, looked up by the picture's path in its folder."""

    def __init__(self, path: Path, min_confidence: float = 0.2) -> None:
        """Raises InputError when the file is not such a JSON."""
        content = _read_json(path)
        categories = content.get("detection_categories", {})
        self._objects: dict[str, list[FoundObject]] = {}
        for entry in content["images"]:
            found = [
                _found_object(detection, categories, path)
                for detection in entry.get("detections") or []
            ]
            self._objects[_tidy(entry["file"])] = [
                one for one in found if (one.confidence or 0.0) >= min_confidence
            ]

    def __len__(self) -> int:
        return len(self._objects)

    def find(self, relative_path: str) -> list[FoundObject] | None:
        """What is in the picture: a list (empty for a blank), or None where the JSON lacks it."""
        return self._objects.get(_tidy(relative_path))


def _tidy(relative_path: str) -> str:
    return relative_path.replace("\\", "/").removeprefix("./")


def _read_json(path: Path) -> dict[str, Any]:
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
    return content


def _found_object(detection: dict[str, Any], categories: dict[str, str], path: Path) -> FoundObject:
    try:
        x, y, width, height = (float(value) for value in detection["bbox"])
        category = categories.get(str(detection["category"]), str(detection["category"]))
        confidence = float(detection["conf"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} holds a detection that cannot be read ({error!r}): each needs category, "
            "conf and bbox [x, y, width, height] in fractions of the picture"
        ) from error
    return FoundObject(
        box=Box(x=x, y=y, width=width, height=height, relative=True),
        observation_type=_TYPE_OF_CATEGORY.get(category.lower(), "unclassified"),
        confidence=confidence,
    )
