"""What one picture tells of its animals: two boxes in it are two animals (cannot-link)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cannot_link(unit_N: NDArray[np.int64], picture_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs [P, 2] of units (crops or bursts) that were seen in one picture, each pair once."""
    order = np.argsort(picture_N, kind="stable")
    borders = np.flatnonzero(np.diff(picture_N[order])) + 1
    pairs = {
        (int(first), int(second))
        for crops in np.split(order, borders)
        if len(crops) > 1
        for first in unit_N[crops]
        for second in unit_N[crops]
        if first < second
    }
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def separate(
    label_U: NDArray[np.int64], pair_P2: NDArray[np.int64], emb_UD: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The labels with no pair in one cluster: of each, who is farther from the centre leaves.

    Whoever leaves becomes an outlier (-1). Clusters are numbered anew, without gaps.
    """
    kept = label_U.copy()
    for first, second in pair_P2:
        label = kept[first]
        if label < 0 or label != kept[second]:
            continue
        centre_D = emb_UD[kept == label].sum(axis=0)
        nearer = emb_UD[first] @ centre_D >= emb_UD[second] @ centre_D
        kept[second if nearer else first] = -1
    clustered = kept >= 0
    kept[clustered] = np.unique(kept[clustered], return_inverse=True)[1]
    return kept
