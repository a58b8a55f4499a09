"""The frames of a clip in which most moves, kept beside those taken by time.

What moves is told by differences of very small frames, each from the one looked at before. Does
not cover which frames are decoded (`edge.decoding.clips`).
"""

from __future__ import annotations

import heapq
import statistics

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.preprocess import Image

_CELLS = (32, 24)  # of a small frame, width and height
_LIVELY = 0.05  # share of the cells that counts: a small animal far away is few
_LEAST = 4.0  # grey levels; less is noise or compression
_ABOVE_USUAL = 2.0  # times what the clip's frames mostly differ by
_MAX_BYTES = 48 * 1024 * 1024  # of pictures kept


class Liveliest:
    """At most `most` frames; `candidates` hold (score, -frame number, milliseconds, picture)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[float, int, int, Image]] = []  # a heap, the least lively first
        self._scores: list[float] = []
        self._before: NDArray[np.float32] | None = None

    def see(self, frame_number: int, frame_ms: int, image_HWC: Image, is_taken: bool) -> None:
        """One more frame, in order; one that is taken already is only compared with."""
        small = _small(image_HWC)
        before, self._before = self._before, small
        if before is None:
            return
        score = _difference(before, small)
        self._scores.append(score)
        if is_taken or score < _LEAST:
            return
        most = min(self._most, _MAX_BYTES // image_HWC.nbytes)
        entry = (score, -frame_number, frame_ms, image_HWC)
        if len(self._kept) < most:
            heapq.heappush(self._kept, entry)
        elif self._kept and entry[:2] > self._kept[0][:2]:
            heapq.heapreplace(self._kept, entry)

    def give(self, most: int) -> list[tuple[int, int, Image]]:
        """Frame number, milliseconds and picture of what is lively in this clip, in order."""
        usual = statistics.median(self._scores) if self._scores else 0.0
        lively = [one for one in self._kept if one[0] >= _ABOVE_USUAL * usual]
        lively = heapq.nlargest(most, lively, key=lambda one: one[:2])
        return sorted(((-number, ms, image) for _, number, ms, image in lively), key=_number)


def _number(one: tuple[int, int, Image]) -> int:
    return one[0]


def _small(image_HWC: Image) -> NDArray[np.float32]:
    small = cv2.resize(image_HWC, _CELLS, interpolation=cv2.INTER_AREA)
    return np.asarray(small.mean(axis=2), np.float32)


def _difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean of the cells that differ most, in grey levels; light that changes everywhere is none."""
    apart = other - one
    apart = np.abs(apart - np.median(apart)).ravel()
    num = max(1, round(_LIVELY * apart.size))
    return float(np.partition(apart, -num)[-num:].mean())
