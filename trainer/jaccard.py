"""The k-reciprocal Jaccard distance between embeddings, kept sparse.

Two pictures are near where they share neighbours that see them as neighbours too (Zhong et al.
2017, in the form of SpCL and Cluster Contrast, whose list lengths are kept). Every step works on
sparse rows or on blocks of rows: memory grows with the pictures, not with their square.

    N embeddings, D their width, K neighbours
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from trainer.neighbours import nearest

MAX_DISTANCE = 0.95  # distances above it are not stored
_BLOCK_PAIRS = 512  # cosines at a time: two gathers of this many rows should stay in cache
_BLOCK_TERMS = 1 << 21  # minima summed at a time

_Near = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def jaccard_distances(
    emb_ND: NDArray[np.float32], k1: int, k2: int, device: str | torch.device = "cpu"
) -> sparse.csr_matrix:
    """Distances up to MAX_DISTANCE as a symmetric float32 [N, N] matrix; what is absent is farther.

    The diagonal is stored, as zeros. Rows must have unit length (else InputError). `k1` neighbours
    decide reciprocity, at most all other rows; a row's weights are averaged over its `k2` nearest.
    `device` does the neighbour search; the rest is sparse work for the CPU.
    """
    return distances_from_weights(encode(emb_ND, nearest(emb_ND, max(k1, k2), device), k1, k2))


def encode(
    emb_ND: NDArray[np.float32], neighbours_NK: NDArray[np.int64], k1: int, k2: int
) -> sparse.csr_matrix:
    """V [N, N]: every row's weights over its expanded reciprocal neighbours; they sum to 1.

    `neighbours_NK` as from `nearest`, with max(k1, k2) columns or all rows. The full list has k1
    entries and the half list k1/2 + 1, self included, as in the code of Cluster Contrast.
    """
    k1 = min(k1, max(len(emb_ND) - 1, 1))
    full = _reciprocal(neighbours_NK[:, :k1])
    half = _reciprocal(neighbours_NK[:, : min(round(k1 / 2) + 1, k1)])
    weights = _weights(emb_ND, _expand(full, half))
    if k2 > 1:
        listed = neighbours_NK[:, :k2]
        weights = (_indicator(listed) @ weights) * np.float32(1.0 / listed.shape[1])
    weights.sort_indices()
    return weights


def distances_from_weights(weights: sparse.csr_matrix) -> sparse.csr_matrix:
    """1 - S / (2 - S) up to MAX_DISTANCE, S_ij = sum over l of min(V_il, V_jl).

    `weights`: V with sorted indices, rows summing to 1.
    """
    pairs = _pairs(weights)
    terms_N = np.add.reduceat(pairs.num_terms, weights.indptr[:-1])
    parts = [_near(weights, pairs, rows) for rows in _blocks(terms_N)]
    row, col, distance = (np.concatenate(part) for part in zip(*parts, strict=True))
    apart = row != col
    mirrored = np.concatenate([row, col[apart]]), np.concatenate([col, row[apart]])
    return sparse.csr_matrix((np.concatenate([distance, distance[apart]]), mirrored), weights.shape)


def _indicator(neighbours_NK: NDArray[np.int64]) -> sparse.csr_matrix:
    num_rows, k = neighbours_NK.shape
    starts = np.arange(0, num_rows * k + 1, k)
    ones = np.ones(num_rows * k, np.float32)
    return sparse.csr_matrix((ones, neighbours_NK.ravel(), starts), (num_rows, num_rows))


def _reciprocal(neighbours_NK: NDArray[np.int64]) -> sparse.csr_matrix:
    """R(i, k): j is among i's neighbours and i among j's."""
    forward = _indicator(neighbours_NK)
    return forward.multiply(forward.T).tocsr()


def _expand(full: sparse.csr_matrix, half: sparse.csr_matrix) -> sparse.csr_matrix:
    """R with the half lists of those members that share over two thirds of theirs with it."""
    shared = full.multiply(full @ half.T).tocoo()
    joins = 3 * shared.data > 2 * np.diff(half.indptr)[shared.col]
    ones = np.ones(int(joins.sum()), np.float32)
    joining = sparse.csr_matrix((ones, (shared.row[joins], shared.col[joins])), full.shape)
    return (full + joining @ half).tocsr()


def _weights(emb_ND: NDArray[np.float32], members: sparse.csr_matrix) -> sparse.csr_matrix:
    """exp(-d) over the members of each row, rows summing to 1; d = 2 - 2 cos."""
    pairs = members.tocoo()
    data = np.empty(len(pairs.row), np.float32)
    for start in range(0, len(data), _BLOCK_PAIRS):
        part = slice(start, start + _BLOCK_PAIRS)
        cosine = np.einsum("nd,nd->n", emb_ND[pairs.row[part]], emb_ND[pairs.col[part]])
        data[part] = np.exp(2.0 * cosine - 2.0)
    weights = sparse.csr_matrix((data, members.indices, members.indptr), members.shape)
    sums = np.asarray(weights.sum(axis=1)).ravel()
    return sparse.diags(1.0 / sums).astype(np.float32) @ weights


def _blocks(terms_N: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of rows with about _BLOCK_TERMS terms together, one row at least."""
    ends = np.cumsum(terms_N)
    start = 0
    while start < len(terms_N):
        done = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, done + _BLOCK_TERMS, side="right"))
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """For each stored weight V_il: where column l goes on from row i, that row included."""

    columns: sparse.csc_matrix
    start: NDArray[np.int32]
    num_terms: NDArray[np.int64]


def _pairs(weights: sparse.csr_matrix) -> _Pairs:
    columns = weights.tocsc()
    numbered = (np.arange(weights.nnz), weights.indices, weights.indptr)
    start = np.empty(weights.nnz, columns.indptr.dtype)
    start[sparse.csr_matrix(numbered, weights.shape).tocsc().data] = np.arange(weights.nnz)
    num_terms = columns.indptr[weights.indices + 1].astype(np.int64) - start
    return _Pairs(columns=columns, start=start, num_terms=num_terms)


def _near(weights: sparse.csr_matrix, pairs: _Pairs, rows: slice) -> _Near:
    """Row, column and distance of the pairs from `rows` to themselves and later rows.

    Each weight V_il meets the rest of column l: one term min(V_il, V_jl) for every j there. The
    product with an indicator of which terms are whose adds them up; sorting by (i, j) is slower.
    """
    own = slice(weights.indptr[rows.start], weights.indptr[rows.stop])
    met = pairs.num_terms[own]
    ends = np.cumsum(met)
    place = np.arange(ends[-1]) + np.repeat(pairs.start[own] - ends + met, met)
    terms = sparse.csr_matrix(
        (
            np.minimum(pairs.columns.data[place], np.repeat(weights.data[own], met)),
            pairs.columns.indices[place],
            np.concatenate([[0], ends]),
        ),
        (len(met), weights.shape[0]),
    )
    starts = weights.indptr[rows.start : rows.stop + 1] - own.start
    ones = np.ones(len(met), np.float32)
    whose = sparse.csr_matrix((ones, np.arange(len(met)), starts), (len(starts) - 1, len(met)))
    overlap = (whose @ terms).tocoo()
    row = overlap.row + rows.start
    distance = np.maximum(1.0 - overlap.data / (2.0 - overlap.data), 0.0)
    distance[row == overlap.col] = 0.0
    near = distance <= MAX_DISTANCE
    return row[near], overlap.col[near], distance[near]
