"""Pseudo-labels: k-reciprocal Jaccard distance and DBSCAN over embeddings.

FANCL names DBSCAN alone; the distance is its base method's (Cluster Contrast), as are k1, k2,
eps and min_samples. Everything is kept sparse: memory grows with the pictures, not their square.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.neighbors import sort_graph_by_row_values

MAX_DISTANCE = 0.95  # Jaccard distances above it are not stored; eps must stay below
GIANT_SHARE = 0.5  # one cluster with more than half of all pictures teaches nothing
_EPS_STEP = 0.05
_MAX_EPS_STEPS = 6
_CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class ClusteringSettings:
    k1: int  # neighbours for reciprocity
    k2: int  # neighbours for query expansion
    eps: float
    min_samples: int


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    label_N: NDArray[np.int64]  # 0 .. num_clusters - 1, -1 = outlier
    eps: float  # the one used; differs from the setting after a collapse
    trouble: str | None  # a sentence for the user, where the setting's eps did not serve

    @property
    def num_clusters(self) -> int:
        return int(self.label_N.max(initial=-1)) + 1

    @property
    def num_outliers(self) -> int:
        return int((self.label_N < 0).sum())

    @property
    def largest_share(self) -> float:
        """Share of all rows that the largest cluster holds."""
        kept = self.label_N[self.label_N >= 0]
        return float(np.bincount(kept).max() / len(self.label_N)) if len(kept) else 0.0

    @property
    def usable(self) -> bool:
        return self.num_clusters >= 2 and self.largest_share <= GIANT_SHARE


def cluster(
    emb_UD: NDArray[np.float32],
    settings: ClusteringSettings,
    burst_N: NDArray[np.int64] | None = None,
) -> PseudoLabels:
    """Pseudo-labels of pictures at the setting's eps, or at the nearest eps that does not collapse.

    Rows are pictures or, with `burst_N` (each picture's row), means of bursts; labels are judged
    as pictures either way, as bursts differ in length. A giant cluster makes eps smaller by 0.05,
    too few clusters make it larger, six times at most; what was done is told in `trouble`. Check
    `usable` before training on the result.
    """
    distances = jaccard_distances(emb_UD, settings.k1, settings.k2)
    first = _dbscan(distances, settings.eps, settings.min_samples, burst_N)
    if first.usable:
        return first
    step = -_EPS_STEP if first.largest_share > GIANT_SHARE else _EPS_STEP
    for count in range(1, _MAX_EPS_STEPS + 1):
        eps = round(settings.eps + count * step, 4)
        if not 0.0 < eps < MAX_DISTANCE:
            break
        again = _dbscan(distances, eps, settings.min_samples, burst_N)
        if again.usable:
            return replace(again, trouble=f"{_collapse(first)}; used eps {eps:.2f} instead")
    return replace(first, trouble=f"{_collapse(first)}, nor do the nearest eps help")


def _collapse(labels: PseudoLabels) -> str:
    """What is wrong with labels that are not usable, and what may help."""
    if labels.largest_share > GIANT_SHARE:
        return (
            f"one cluster holds {labels.largest_share:.0%} of all at eps {labels.eps:.2f} "
            "(lower --eps or --k1)"
        )
    count = "no clusters" if labels.num_clusters == 0 else "a single cluster"
    return f"{count} at eps {labels.eps:.2f} (raise --eps or --k1)"


def _dbscan(
    distances: sparse.csr_matrix,
    eps: float,
    min_samples: int,
    burst_N: NDArray[np.int64] | None,
) -> PseudoLabels:
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(distances)
    label_U = found.labels_.astype(np.int64)
    if burst_N is not None:
        label_U = _keep_lone_bursts(label_U, np.bincount(burst_N))[burst_N]
    return PseudoLabels(label_N=label_U, eps=eps, trouble=None)


def _keep_lone_bursts(label_B: NDArray[np.int64], size_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """A burst that joined no cluster is one of its own, if it has two frames to compare."""
    kept = label_B.copy()
    alone = np.flatnonzero((label_B < 0) & (size_B > 1))
    kept[alone] = int(label_B.max(initial=-1)) + 1 + np.arange(len(alone))
    return kept


def jaccard_distances(emb_ND: NDArray[np.float32], k1: int, k2: int) -> sparse.csr_matrix:
    """Distances up to MAX_DISTANCE as a sparse [N, N] matrix; what is absent is farther.

    k1 must be below N. Re-ranking of Zhong et al. 2017 in the form that SpCL and Cluster Contrast
    use, with their list lengths (k1 entries in full, k1/2 + 1 in the half list, self included).
    """
    num_rows = len(emb_ND)
    k1 = min(k1, num_rows - 1)
    neighbours_NK = nearest(emb_ND, max(k1, k2))
    reciprocal = _reciprocal(neighbours_NK[:, :k1], num_rows)
    half = _reciprocal(neighbours_NK[:, : min(round(k1 / 2) + 1, k1)], num_rows)
    weights = _weights(emb_ND, _expand(reciprocal, half))
    if k2 > 1:
        weights = (_indicator(neighbours_NK[:, :k2], num_rows) @ weights).multiply(1.0 / k2).tocsr()
    return _jaccard(weights)


def nearest(emb_ND: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Indices [N, k] of the nearest rows, self first, by cosine (= L2 on unit vectors)."""
    parts = []
    for start in range(0, len(emb_ND), _CHUNK):
        similarity = emb_ND[start : start + _CHUNK] @ emb_ND.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = np.inf
        parts.append(np.argsort(-similarity, axis=1, kind="stable")[:, :k])
    return np.concatenate(parts)


def _indicator(neighbours_NK: NDArray[np.int64], num_rows: int) -> sparse.csr_matrix:
    rows = np.repeat(np.arange(num_rows), neighbours_NK.shape[1])
    ones = np.ones(neighbours_NK.size, np.float32)
    return sparse.csr_matrix((ones, (rows, neighbours_NK.ravel())), (num_rows, num_rows))


def _reciprocal(neighbours_NK: NDArray[np.int64], num_rows: int) -> sparse.csr_matrix:
    """R(i, k): j is among i's neighbours and i among j's."""
    forward = _indicator(neighbours_NK, num_rows)
    return forward.multiply(forward.T).tocsr()


def _expand(reciprocal: sparse.csr_matrix, half: sparse.csr_matrix) -> sparse.csr_matrix:
    """R with the half lists of those members that share over two thirds of theirs with it."""
    shared = reciprocal.multiply(reciprocal @ half.T).tocoo()
    half_sizes = np.asarray(half.sum(axis=1)).ravel()
    joins = shared.data > half_sizes[shared.col] * (2.0 / 3.0)
    joining = sparse.csr_matrix(
        (np.ones(int(joins.sum()), np.float32), (shared.row[joins], shared.col[joins])),
        shared.shape,
    )
    return (reciprocal + joining @ half).tocsr()


def _weights(emb_ND: NDArray[np.float32], members: sparse.csr_matrix) -> sparse.csr_matrix:
    """V: exp(-d) over the members of each row, rows summing to 1; d = 2 - 2 cos."""
    pairs = members.tocoo()
    data = np.empty(len(pairs.row), np.float32)
    for start in range(0, len(data), _CHUNK * 64):
        part = slice(start, start + _CHUNK * 64)
        cosine = np.einsum("nd,nd->n", emb_ND[pairs.row[part]], emb_ND[pairs.col[part]])
        data[part] = np.exp(2.0 * cosine - 2.0)
    weights = sparse.csr_matrix((data, (pairs.row, pairs.col)), members.shape)
    sums = np.asarray(weights.sum(axis=1)).ravel()
    return sparse.diags(1.0 / sums).astype(np.float32) @ weights


def _jaccard(weights: sparse.csr_matrix) -> sparse.csr_matrix:
    """1 - S / (2 - S), S_ij = sum over l of min(V_il, V_jl)."""
    columns = weights.tocsc()
    num_rows = weights.shape[0]
    overlap = np.zeros(num_rows, np.float32)
    parts: list[tuple[NDArray[np.int32], NDArray[np.float32]]] = []
    for row in range(num_rows):
        overlap[:] = 0.0
        for place in range(weights.indptr[row], weights.indptr[row + 1]):
            own = slice(*columns.indptr[weights.indices[place] : weights.indices[place] + 2])
            overlap[columns.indices[own]] += np.minimum(weights.data[place], columns.data[own])
        near = np.flatnonzero(overlap).astype(np.int32)
        distance = np.maximum(1.0 - overlap[near] / (2.0 - overlap[near]), 0.0)
        kept = distance <= MAX_DISTANCE
        parts.append((near[kept], distance[kept]))
    indptr = np.concatenate([[0], np.cumsum([len(near) for near, _ in parts])])
    indices = np.concatenate([near for near, _ in parts])
    data = np.concatenate([distance for _, distance in parts])
    graph = sparse.csr_matrix((data, indices, indptr), weights.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that sorting copies, which is wanted
        return sort_graph_by_row_values(graph, copy=True)
