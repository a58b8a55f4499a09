"""Which pictures make a training batch: P clusters of K pictures each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.settings import BatchSettings


def sample_batches(
    label_N: NDArray[np.int64],
    burst_N: NDArray[np.int64],
    settings: BatchSettings,
    chooser: np.random.Generator,
) -> Iterator[NDArray[np.int64]]:
    """Endless batches of P x K rows, clusters in random order; rows labelled -1 are left out.

    A cluster with fewer pictures gives some more than once; with fewer clusters than a batch
    takes they come round again until it is full.
    """
    members = [np.flatnonzero(label_N == label) for label in range(int(label_N.max()) + 1)]
    waiting: list[NDArray[np.int64]] = []
    while True:
        for label in chooser.permutation(len(members)):
            shuffled = chooser.permutation(members[label])
            if settings.spread_bursts:
                shuffled = shuffled[np.argsort(_turn(burst_N[shuffled]), kind="stable")]
            waiting.append(np.resize(shuffled, settings.images))
            if len(waiting) == settings.clusters:
                yield np.concatenate(waiting)
                waiting = []


def _turn(burst_K: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the same burst come before each: sorted by it, every burst has its turn."""
    order = np.argsort(burst_K, kind="stable")
    begins = np.searchsorted(burst_K[order], burst_K[order])
    turn = np.empty(len(burst_K), np.int64)
    turn[order] = np.arange(len(burst_K)) - begins
    return turn
