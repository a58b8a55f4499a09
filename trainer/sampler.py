"""Which pictures make a training batch: P clusters of K pictures each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def sample_batches(
    label_N: NDArray[np.int64],
    num_clusters: int,
    images_per_cluster: int,
    chooser: np.random.Generator,
) -> Iterator[NDArray[np.int64]]:
    """Endless batches of `num_clusters` x `images_per_cluster` rows, clusters in random order.

    A cluster with fewer pictures gives some more than once; with fewer clusters than a batch
    takes they come round again until it is full.
    """
    members = [np.flatnonzero(label_N == label) for label in range(int(label_N.max()) + 1)]
    waiting: list[NDArray[np.int64]] = []
    while True:
        for label in chooser.permutation(len(members)):
            shuffled = chooser.permutation(members[label])
            waiting.append(np.resize(shuffled, images_per_cluster))
            if len(waiting) == num_clusters:
                yield np.concatenate(waiting)
                waiting = []
