"""Motion as a finder: what moved before a camera, learned from its own pictures.

It cannot tell an animal from a person or a branch; what it finds is taken for an animal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from edge.decoding.decoder import View
from edge.detect import FoundObject
from edge.detection.motion import LOOK_SIDE, MIN_CONFIDENCE, Look, Motion
from edge.record.store import Store
from edge.record.store_motion import load_backgrounds, save_backgrounds


class MotionFinder:
    """`store` holds what earlier runs learned of the cameras."""

    def __init__(self, store: Store) -> None:
        self._motion = Motion(load_backgrounds(store))

    @property
    def look_side(self) -> int:
        return LOOK_SIDE

    @property
    def sees_bursts(self) -> bool:
        return True

    def find_all(
        self, deployment_id: str, views: Sequence[View], times: Sequence[datetime]
    ) -> list[list[FoundObject]]:
        looks = [
            Look(key=str(number), captured_at=when, image_HWC=_look(view))
            for number, (view, when) in enumerate(zip(views, times, strict=True))
        ]
        return [
            [
                one
                for one in found.objects
                if one.confidence is None or one.confidence >= MIN_CONFIDENCE
            ]
            for found in self._motion.look(deployment_id, looks)
        ]

    def keep(self, store: Store) -> None:
        """Inside the batch's transaction; what a rollback takes back is saved with the next."""
        save_backgrounds(store, self._motion.changed)
        self._motion.changed.clear()


def _look(view: View) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert view.look_HWC is not None
    return view.look_HWC
