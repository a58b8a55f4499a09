"""Steps between rows of blocks against a slow comparison, one column to begin at after another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.decoding import damage

Floats = NDArray[np.float32]


def slow_ratio(above_CK: Floats, below_CK: Floats) -> float:
    """The largest step in its own scatter, of any channel and column; less than counts is 0."""
    found = 0.0
    num = above_CK.shape[1]
    for above_K, below_K in zip(above_CK, below_CK, strict=True):
        for start in [num * one // 16 for one in range(1, 16)]:
            seen = np.concatenate([above_K[start:], below_K[:start]])
            step = np.median(seen)
            ratio = abs(step) / (np.median(np.abs(seen - step)) + 1)
            parts = [np.median(above_K[start:]), np.median(below_K[:start])]
            beside = [np.median(above_K[:start]), np.median(below_K[start:])]
            if (
                abs(step) >= 1.5
                and ratio >= 2.0 / 1.2
                and min(one * np.sign(step) for one in parts) >= abs(step) / 2
                and max(abs(one) for one in beside) <= abs(step) / 2
            ):
                found = max(found, float(ratio))
    return found


@pytest.mark.parametrize("num_columns", [64, 53, 48])
def test_a_step_is_as_large_as_looking_at_each_column_says(num_columns: int) -> None:
    rng = np.random.default_rng(num_columns)
    above_RCK, below_RCK = rng.normal(0, 0.5, (2, 150, 3, num_columns)).astype(np.float32)
    for row in range(150):  # some begin at a sixteenth, some between, some are seen all along
        start, size = rng.integers(0, num_columns + 1), rng.normal(0, 6)
        channel = rng.integers(3)
        above_RCK[row, channel, start:] += size
        below_RCK[row, channel, : start if row % 5 else num_columns] += size
    slow = [slow_ratio(above, below) for above, below in zip(above_RCK, below_RCK, strict=True)]
    found = damage._ratios_from(above_RCK, below_RCK)
    np.testing.assert_allclose(found, slow, rtol=1e-5)
    assert 20 < np.count_nonzero(found) < 140
