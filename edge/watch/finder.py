"""What finds animals in small whole pictures while the watch runs: a detector, or anything alike.

A finder runs in the main process on looks; pixels at full size are only decoded again where it
found something to cut out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from edge.decoding.decoder import View
from edge.detect import FoundObject
from edge.detection.detector import Detector, open_detector
from edge.errors import ModelError
from edge.record.store import Store

_ENOUGH_SIDE = 1280  # pixels of a look beyond which twice the input's size is not worth its memory


class Finder(Protocol):
    """Anything that knows what is in pictures of one camera."""

    @property
    def look_side(self) -> int:
        """The longest side in pixels that `View.look_HWC` must have, where the picture has it."""

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
        """Twice the input's size for small inputs: the detector's own shrinking is bilinear.

        At 832 pixels yolox-nano (416) is as sure of elephants and herons as at 2048.
        """
        longest = max(self._detector.spec.height, self._detector.spec.width)
        return min(2 * longest, max(longest, _ENOUGH_SIDE))

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
    opened = open_detector(detector, num_threads)
    try:
        opened.find(np.full((opened.spec.height, opened.spec.width, 3), 128, np.uint8))
    except ModelError as error:
        raise ModelError(f"{detector}: {error}") from error
    return DetectorFinder(opened)
