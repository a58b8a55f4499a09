"""The radius of DBSCAN, chosen each epoch without labels.

As eps grows, pictures left out join clusters, and clusters join each other: first few that
belong together, then, within a step or two, nearly all (on real animals one cluster holding half
of the pictures was seen 0.05 above a good eps). So eps goes up in steps, and stops before the
step at which the pictures that were clustered already no longer keep their company: the adjusted
Rand index between both labellings, over those pictures alone, must stay at 0.85, and no cluster
may hold over a quarter of all pictures. docs/LOG.md has the figures behind both numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

FIRST, LAST, STEP = 0.25, 0.80, 0.05
MIN_AGREEMENT = 0.85
MAX_SHARE = 0.25

LabelsAt = Callable[[float], NDArray[np.int64]]  # eps to a label a row, -1 = outlier


@dataclass(frozen=True, kw_only=True)
class Choice:
    eps: float
    label_U: NDArray[np.int64]
    agreement: float | None  # with the labels one step below, over what was clustered there


def choose_eps(labels_at: LabelsAt, size_U: NDArray[np.int64]) -> Choice:
    """The largest eps before clusters begin to run into each other.

    `size_U` is how many pictures a row stands for. With nothing clustered at any eps, or a giant
    cluster at the smallest, the smallest is given: judge its labels before use.
    """
    chosen = Choice(eps=FIRST, label_U=labels_at(FIRST), agreement=1.0)
    before = chosen.label_U
    for step in range(1, round((LAST - FIRST) / STEP) + 1):
        eps = round(FIRST + step * STEP, 2)
        label_U = labels_at(eps)
        agreement = agreement_between(before, label_U)
        if agreement < MIN_AGREEMENT or largest_share(label_U, size_U) > MAX_SHARE:
            break
        chosen = Choice(eps=eps, label_U=label_U, agreement=agreement)
        before = label_U
    return chosen


def agreement_between(before_U: NDArray[np.int64], after_U: NDArray[np.int64]) -> float:
    """Adjusted Rand index over the rows that were clustered before; 1 where there are none."""
    kept = before_U >= 0
    return float(adjusted_rand_score(before_U[kept], after_U[kept])) if kept.any() else 1.0


def largest_share(label_U: NDArray[np.int64], size_U: NDArray[np.generic]) -> float:
    """Share of all pictures in the largest cluster."""
    kept = label_U >= 0
    if not kept.any():
        return 0.0
    return float(np.bincount(label_U[kept], weights=size_U[kept]).max() / size_U.sum())


def silhouette(distances: sparse.csr_matrix, label_U: NDArray[np.int64]) -> float | None:
    """Mean silhouette of the clustered rows over Jaccard distances; those not stored count as 1.

    None with fewer than two clusters.
    """
    rows = np.flatnonzero(label_U >= 0)
    num_clusters = int(label_U.max(initial=-1)) + 1
    if num_clusters < 2:
        return None
    closeness = distances[rows][:, rows].copy()
    closeness.data = 1.0 - closeness.data
    label_K = label_U[rows]
    ones = np.ones(len(rows), np.float32)
    member = sparse.csr_matrix((ones, (np.arange(len(rows)), label_K)), (len(rows), num_clusters))
    count_C = np.bincount(label_K)
    sums = (closeness @ member).tocoo()
    own = sums.col == label_K[sums.row]
    own_K = np.zeros(len(rows))
    own_K[sums.row[own]] = sums.data[own]
    to_self = closeness.diagonal()
    inside_K = 1.0 - (own_K - to_self) / np.maximum(count_C[label_K] - 1, 1)
    near_K = np.zeros(len(rows))
    np.maximum.at(near_K, sums.row[~own], sums.data[~own] / count_C[sums.col[~own]])
    outside_K = 1.0 - near_K
    larger_K = np.maximum(np.maximum(inside_K, outside_K), 1e-12)
    value_K = np.where(count_C[label_K] > 1, (outside_K - inside_K) / larger_K, 0.0)
    return float(value_K.mean())
