"""k-reciprocal re-ranking at search time (Zhong et al., CVPR 2017, arXiv 1701.08398).

Two pictures are close when each is among the other's nearest and both have the same company.
No labels take part. Pairs that do not count in the figures still take part as company, as the
camera-filtered pairs do in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

K1, K2, ORIGINAL_WEIGHT = 20, 6, 0.3  # section 4.2 of the paper: k1, k2, lambda
_BLOCK_ROWS = 1024  # rows of the distance matrix held at once


@dataclass(frozen=True, kw_only=True)
class _Neighbours:
    nearest_NK: NDArray[np.int64]  # itself first, then by distance
    farthest_N: NDArray[np.float32]  # distance of the farthest row


def rerank(
    emb_ND: NDArray[np.float32],
    query_Q: NDArray[np.int64],
    gallery_G: NDArray[np.int64],
    k1: int = K1,
    k2: int = K2,
    original_weight: float = ORIGINAL_WEIGHT,
) -> NDArray[np.float32]:
    """Similarities [Q, G], one minus the final distance (eq. 12), of unit rows.

    The neighbourhoods are over all rows of `emb_ND`, queries and gallery together, each once.
    The original distance is the squared Euclidean one, over the farthest of each row so that
    both terms lie in [0, 1], as in the authors' code. Memory beside the result grows linearly
    with the rows.
    """
    k1 = min(k1, len(emb_ND) - 1)
    found = _neighbours(emb_ND, max(k1 + 1, k2))
    company_NN = _expand_queries(_company(emb_ND, found, k1), found.nearest_NK[:, :k2])
    distance_QG = _jaccard(company_NN, query_Q, gallery_G)
    distance_QG *= 1.0 - original_weight
    original_QG = _distances(emb_ND[query_Q], emb_ND[gallery_G]) / found.farthest_N[query_Q, None]
    return (1.0 - distance_QG - original_weight * original_QG).astype(np.float32)


def _distances(emb_MD: NDArray[np.float32], emb_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(2.0 - 2.0 * (emb_MD @ emb_ND.T), 0.0)


def _neighbours(emb_ND: NDArray[np.float32], num_nearest: int) -> _Neighbours:
    nearest, farthest = [], []
    for start in range(0, len(emb_ND), _BLOCK_ROWS):
        distance_MN = _distances(emb_ND[start : start + _BLOCK_ROWS], emb_ND)
        farthest.append(np.maximum(distance_MN.max(axis=1), np.finfo(np.float32).tiny))
        rows = np.arange(len(distance_MN))
        distance_MN[rows, start + rows] = -1.0  # itself first, also among equal pictures
        nearest.append(np.argsort(distance_MN, axis=1, kind="stable")[:, :num_nearest])
    return _Neighbours(nearest_NK=np.concatenate(nearest), farthest_N=np.concatenate(farthest))


def _reciprocal(nearest_NK: NDArray[np.int64], k: int) -> list[NDArray[np.int64]]:
    """R(i, k): the k nearest others, and itself, that have i among theirs (eq. 3)."""
    near_NK = nearest_NK[:, : k + 1]
    rows = np.arange(len(near_NK))[:, None, None]
    mutual_NK = (near_NK[near_NK] == rows).any(axis=2)
    return [near_K[mutual_K] for near_K, mutual_K in zip(near_NK, mutual_NK, strict=True)]


def _company(
    emb_ND: NDArray[np.float32], found: _Neighbours, k1: int
) -> sparse.csr_matrix[np.float32]:
    """V, rows that sum to 1: weights exp(-d) over the expanded set R*(i, k1) (eq. 5 and 7).

    A candidate's own half-sized set joins where two thirds of it are there already.
    """
    full, half = _reciprocal(found.nearest_NK, k1), _reciprocal(found.nearest_NK, round(k1 / 2))
    columns, weights = [], []
    for row, near in enumerate(full):
        joining = [
            half[one]
            for one in near
            if 3 * len(np.intersect1d(half[one], near)) > 2 * len(half[one])
        ]
        members = np.unique(np.concatenate([near, *joining]))
        distance = _distances(emb_ND[row : row + 1], emb_ND[members])[0] / found.farthest_N[row]
        weight = np.exp(-distance)
        columns.append(members)
        weights.append(weight / weight.sum())
    ends = np.cumsum([0, *(len(one) for one in columns)])
    shape = (len(full), len(full))
    return sparse.csr_matrix((np.concatenate(weights), np.concatenate(columns), ends), shape=shape)


def _expand_queries(
    company_NN: sparse.csr_matrix[np.float32], nearest_NK: NDArray[np.int64]
) -> sparse.csr_matrix[np.float32]:
    """Each row becomes the mean over its k2 nearest (eq. 11)."""
    num_rows, k2 = nearest_NK.shape
    ends = np.arange(0, num_rows * k2 + 1, k2)
    share = np.full(num_rows * k2, 1.0 / k2, np.float32)
    mean_NN = sparse.csr_matrix((share, nearest_NK.ravel(), ends), shape=(num_rows, num_rows))
    return (mean_NN @ company_NN).tocsr()


def _jaccard(
    company_NN: sparse.csr_matrix[np.float32],
    query_Q: NDArray[np.int64],
    gallery_G: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Jaccard distances (eq. 10): rows sum to 1, so the union is 2 minus the intersection."""
    by_member = company_NN[gallery_G].tocsc()
    shared_QG = np.zeros((len(query_Q), len(gallery_G)), np.float32)
    for shared_G, row in zip(shared_QG, query_Q, strict=True):
        mine = slice(company_NN.indptr[row], company_NN.indptr[row + 1])
        for member, weight in zip(company_NN.indices[mine], company_NN.data[mine], strict=True):
            theirs = slice(by_member.indptr[member], by_member.indptr[member + 1])
            shared_G[by_member.indices[theirs]] += np.minimum(weight, by_member.data[theirs])
    return np.maximum(1.0 - shared_QG / (2.0 - shared_QG), 0.0)
