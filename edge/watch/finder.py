"""What finds animals in small whole pictures while the watch runs: a detector, or anything alike.

A finder runs in the main process on looks; pixels at full size are only decoded again where it
found something to cut out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from edge.decoding.decoder import View
from edge.detect import FoundObject
from edge.detection.detector import Detector, open_tried_detector
from edge.record.store import Store


class Finder(Protocol):
    """Anything that knows what is in pictures of one camera."""

    @property
    def look_side(self) -> int:
        """The longest side in pixels that `View.look_HWC` must have, where the picture has it."""

    @property
    def sees_bursts(self) -> bool:
        """Whether the frames of a burst help each other, so that they should be shown together."""

    def find_all(
        self, deployment_id: str, views: Sequence[View], times: Sequence[datetime]
    ) -> list[list[FoundObject]]:
        """What is in each of these views of one camera, in that order; boxes are relative."""

    def keep(self, store: Store) -> None:
        """Saves what it learned of the cameras, inside the transaction of the batch."""


class DetectorFinder:
    """A detector as a finder; it sees each view by itself."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    @property
    def look_side(self) -> int:
        return self._detector.look_side

    @property
    def sees_bursts(self) -> bool:
        return False

    def find_all(
        self, deployment_id: str, views: Sequence[View], times: Sequence[datetime]
    ) -> list[list[FoundObject]]:
        """Raises ModelError when the outputs are not those its JSON describes."""
        return [
            [] if view.look_HWC is None else self._detector.find(view.look_HWC) for view in views
        ]

    def keep(self, store: Store) -> None:
        """Nothing: it learns nothing."""


def open_finder(detector: Path, num_threads: int | None) -> Finder:
    """The detector of that file, tried on a grey picture before any file is claimed for it.

    Raises ConfigError for its JSON, ModelError for the file.
    """
    return DetectorFinder(open_tried_detector(detector, num_threads))
