"""What finds animals in the small pictures of a card: a detector file, or motion.

The same detectors, on pictures of the same size, as on the device.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from edge.detect import FoundObject
from edge.detection.detector import Detector, open_tried_detector, spec_path
from edge.detection.motion import LOOK_SIDE, MIN_CONFIDENCE, Look, Motion, View
from edge.detection.motion_background import Background
from edge.errors import InputError
from edge.preprocess import Image

MOTION = "motion"


@dataclass(frozen=True, kw_only=True)
class SmallPicture:
    captured_at: datetime
    image_HWC: Image


class Finder(Protocol):
    @property
    def look_side(self) -> int:
        """The longest side in pixels of a small picture, where the picture has as many."""

    @property
    def asked(self) -> dict[str, Any]:
        """What decides what it finds, for the record; equal ones find the same."""

    @property
    def needs_times(self) -> bool:
        """Whether it wants the pictures of each camera by themselves, in order of time."""

    def find_all(
        self, camera: str, pictures: Sequence[SmallPicture]
    ) -> list[list[FoundObject] | None]:
        """What is in each picture of one camera; None where nobody can tell."""

    def memory(self) -> dict[str, str]:
        """What it learned so far, to go on with after a stop."""


class DetectorFinder:
    def __init__(self, path: Path) -> None:
        """Raises ConfigError for the JSON beside the file, ModelError for the file."""
        if not path.is_file():
            raise InputError(
                f"--detector {path}: there is no such file; give a detector's ONNX file with its "
                "JSON beside it, or the word motion"
            )
        self._detector: Detector = open_tried_detector(path, num_threads=None)
        self._path = path

    @property
    def look_side(self) -> int:
        return self._detector.look_side

    @property
    def asked(self) -> dict[str, Any]:
        return {
            "name": self._path.name,
            "sha256": _digest(self._path),
            "settings_sha256": _digest(spec_path(self._path)),
        }

    @property
    def needs_times(self) -> bool:
        return False

    def find_all(
        self, camera: str, pictures: Sequence[SmallPicture]
    ) -> list[list[FoundObject] | None]:
        return [self._detector.find(one.image_HWC) for one in pictures]

    def memory(self) -> dict[str, str]:
        return {}


class MotionFinder:
    """What moved; it cannot tell an animal from a person or a branch."""

    def __init__(self, memory: Mapping[str, str]) -> None:
        self._learned = {_view(key): _background(text) for key, text in memory.items()}
        self._motion = Motion(self._learned)

    @property
    def look_side(self) -> int:
        return LOOK_SIDE

    @property
    def asked(self) -> dict[str, Any]:
        return {"name": MOTION}

    @property
    def needs_times(self) -> bool:
        return True

    def find_all(
        self, camera: str, pictures: Sequence[SmallPicture]
    ) -> list[list[FoundObject] | None]:
        """None for a camera's first picture, which has nothing to be compared with."""
        self._learned = {
            view: background
            for view, background in self._learned.items()
            if view.deployment_id == camera
        }
        looks = [
            Look(key=str(number), captured_at=one.captured_at, image_HWC=one.image_HWC)
            for number, one in enumerate(pictures)
        ]
        found = self._motion.look(camera, looks)
        self._learned.update(self._motion.changed)
        self._motion.changed.clear()
        return [_sure(one.objects) for one in found]

    def memory(self) -> dict[str, str]:
        """Of the camera it was shown last; the others have been searched through."""
        return {_key(view): _text(background) for view, background in self._learned.items()}


def open_finder(detector: str, memory: Mapping[str, str]) -> Finder:
    """A detector file, or motion with what it learned before a stop."""
    return MotionFinder(memory) if detector == MOTION else DetectorFinder(Path(detector))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sure(objects: Sequence[FoundObject]) -> list[FoundObject] | None:
    if any(one.confidence is None for one in objects):
        return None
    return [one for one in objects if (one.confidence or 0.0) >= MIN_CONFIDENCE]


def _key(view: View) -> str:
    return f"{view.light}/{view.deployment_id}"


def _view(key: str) -> View:
    light, _, camera = key.partition("/")
    return View(deployment_id=camera, light=light)


def _text(memory: Background) -> str:
    return base64.b64encode(memory.to_bytes()).decode("ascii")


def _background(text: str) -> Background:
    return Background.from_bytes(base64.b64decode(text))
