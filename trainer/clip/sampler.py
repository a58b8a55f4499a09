"""Batches of stage 2: P identities of K pictures, each picture about once an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def epoch_batches(
    label_N: NDArray[np.int64], identities: int, images: int, chooser: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Rows [P x K] of each batch of an epoch (the sampler of the field, METHODS of CLIP-ReID).

    An identity's shuffled pictures are cut into groups of K; one with fewer gives some more than
    once, a remainder is left for another epoch. Batches are drawn among identities with groups
    left, until fewer than P have any.
    """
    groups: dict[int, list[NDArray[np.int64]]] = {}
    for label in np.unique(label_N).tolist():
        rows = np.flatnonzero(label_N == label)
        if len(rows) < images:
            rows = chooser.choice(rows, images, replace=True)
        rows = chooser.permutation(rows)
        groups[label] = [
            rows[start : start + images] for start in range(0, len(rows) - images + 1, images)
        ]
    batches = []
    while len(groups) >= identities:
        drawn = chooser.choice(sorted(groups), identities, replace=False).tolist()
        batches.append(np.concatenate([groups[label].pop() for label in drawn]))
        for label in drawn:
            if not groups[label]:
                del groups[label]
    return batches
