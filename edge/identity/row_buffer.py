"""Rows that come at the end and go at the beginning, without all of them being copied each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class RowBuffer:
    """Rows of one width, the newest last; beyond so many the oldest go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._memory: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._first = self._end = 0

    @property
    def rows(self) -> NDArray[np.float32]:
        """[rows, width]; holds until the next call of `keep` or `append`."""
        return self._memory[self._first : self._end]

    def keep(self, position_R: Sequence[int]) -> None:
        """Only these rows, by their place, ascending; cheap where the newest go."""
        if position_R and position_R[-1] != len(position_R) - 1:
            self._memory[self._first : self._first + len(position_R)] = self.rows[position_R]
        self._end = self._first + len(position_R)

    def append(self, row_RD: NDArray[np.float32]) -> None:
        row_RD = row_RD[-self._most :]
        if self._end + len(row_RD) > len(self._memory) or row_RD.shape[1:] != self.rows.shape[1:]:
            self._make_room(len(row_RD), row_RD.shape[1])
        self._memory[self._end : self._end + len(row_RD)] = row_RD
        self._end += len(row_RD)
        self._first = max(self._first, self._end - self._most)

    def _make_room(self, num: int, width: int) -> None:
        """At the end; a little more than that, so that it is seldom made."""
        kept = self.rows[max(0, self._end - self._first + num - self._most) :]
        spare = min(len(kept) + num, self._most // 8)
        memory = np.empty((len(kept) + num + spare, width), np.float32)
        if len(kept):
            memory[: len(kept)] = kept
        self._memory, self._first, self._end = memory, 0, len(kept)
