"""The sparse Jaccard distance against full matrices by its definition, sharing no function."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from trainer.clustering import dbscan
from trainer.jaccard import MAX_DISTANCE, distances_from_weights, encode, jaccard_distances
from trainer.neighbours import nearest


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@cache
def animals(num_rows: int) -> NDArray[np.float32]:
    """About 15 pictures an animal in bursts of three, overlapping; every 40th is in there twice."""
    rng = np.random.default_rng(num_rows)
    burst = np.arange(num_rows) // 3
    centres = rng.standard_normal((num_rows // 15 + 1, 32))[np.arange(num_rows) // 15]
    bursts = centres + 0.7 * rng.standard_normal((burst[-1] + 1, 32))[burst]
    emb = unit_rows(bursts + 0.2 * rng.standard_normal((num_rows, 32)))
    emb[20::40] = emb[0::40][: len(emb[20::40])]
    return emb[rng.permutation(num_rows)]


@cache
def dense_order(num_rows: int) -> NDArray[np.int64]:
    """All rows by cosine for every row: self first, equal ones (to 1e-9) by index."""
    emb = animals(num_rows).astype(np.float64)
    similarity = np.round(emb @ emb.T, 9)
    np.fill_diagonal(similarity, np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")


def is_among_first(order: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    among = np.zeros(order.shape, bool)
    for i, row in enumerate(order):
        among[i, row[:k]] = True
    return among


def dense_jaccard(num_rows: int, k1: int, k2: int) -> NDArray[np.float64]:
    """Zhong et al. 2017 in full float64 matrices, with the list lengths of Cluster Contrast."""
    emb, order = animals(num_rows).astype(np.float64), dense_order(num_rows)
    k1 = min(k1, max(num_rows - 1, 1))
    full = is_among_first(order, k1)
    half = is_among_first(order, min(round(k1 / 2) + 1, k1))
    full, half = full & full.T, half & half.T
    weights = np.zeros((num_rows, num_rows))
    for i in range(num_rows):
        members = full[i].copy()
        for j in np.flatnonzero(full[i]):
            if 3 * (half[j] & full[i]).sum() > 2 * half[j].sum():
                members |= half[j]
        weights[i, members] = np.exp(2.0 * emb[members] @ emb[i] - 2.0)
        weights[i] /= weights[i].sum()
    if k2 > 1:
        weights = np.stack([weights[row[:k2]].mean(axis=0) for row in order])
    shared, columns = np.empty_like(weights), np.ascontiguousarray(weights.T)
    for i in range(num_rows):
        own = weights[i] > 0
        shared[i] = np.minimum(weights[i, own, None], columns[own]).sum(axis=0)
    return np.maximum(1.0 - shared / (2.0 - shared), 0.0)


@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (20, 1), (7, 3)])
def test_labels_of_2000_pictures_equal_those_of_dense_distances(k1: int, k2: int) -> None:
    dense = dense_jaccard(2000, k1, k2)
    found = jaccard_distances(animals(2000), k1, k2)
    for eps in (0.4, 0.5, 0.6):
        expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(dense).labels_
        assert expected.max() > 20
        np.testing.assert_array_equal(dbscan(found, eps, 4), expected)


@pytest.mark.parametrize(
    ("num_rows", "k1", "k2"),
    [
        (300, 30, 6),
        (300, 8, 1),
        (300, 6, 20),
        (40, 39, 6),
        (40, 200, 50),
        (7, 30, 6),
        (3, 30, 6),
        (2, 30, 6),
        (2, 1, 1),
        (1, 30, 6),
        (1, 1, 1),
    ],
)
def test_distances_equal_the_definition(num_rows: int, k1: int, k2: int) -> None:
    expected = dense_jaccard(num_rows, k1, k2)
    pairs = jaccard_distances(animals(num_rows), k1, k2).tocoo()
    found = np.full(expected.shape, np.inf)
    found[pairs.row, pairs.col] = pairs.data
    near = expected <= MAX_DISTANCE - 1e-5
    np.testing.assert_allclose(found[near], expected[near], atol=2e-6)
    assert np.isinf(found[expected > MAX_DISTANCE + 1e-5]).all()


def test_rows_of_every_block_have_their_distances() -> None:
    emb = animals(4000)  # three blocks of rows
    weights = encode(emb, nearest(emb, 30), 30, 6)
    found, dense = distances_from_weights(weights), weights.toarray()
    assert (found.tocoo().row == found.tocoo().col).sum() == 4000
    for i in range(0, 4000, 61):
        own = dense[i] > 0
        shared = np.minimum(dense[i, own], dense[:, own]).sum(axis=1)
        expected = 1.0 - shared / (2.0 - shared)
        assert set(found[i].indices) == set(np.flatnonzero(expected <= MAX_DISTANCE))
        np.testing.assert_allclose(found[i].data, expected[found[i].indices], atol=1e-5)


def test_distances_are_symmetric_from_0_on_the_diagonal_to_the_largest_kept() -> None:
    distances = jaccard_distances(animals(300), 20, 6)
    assert (distances != distances.T).nnz == 0
    assert (distances.diagonal() == 0).all()
    assert distances.nnz > 300
    assert 0 <= distances.data.min() <= distances.data.max() <= MAX_DISTANCE


def two_blobs_and_a_loner() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.repeat(np.eye(8)[:2], 10, axis=0), np.eye(8)[2:3]])
    rows[:20] += 0.01 * rng.standard_normal((20, 8))
    rows[[0, 10], 2] += 0.05  # the loner's nearest: one of each blob
    return unit_rows(rows)


def test_two_tight_blobs_are_near_within_and_farthest_across() -> None:
    distances = jaccard_distances(two_blobs_and_a_loner(), k1=10, k2=3)
    blob_N = np.repeat([0, 1, 2], [10, 10, 1])
    pairs = distances.tocoo()
    within = blob_N[pairs.row] == blob_N[pairs.col]
    assert within.sum() == 10 * 10 + 10 * 10 + 1
    assert pairs.data[within].max() <= 0.01
    assert set(blob_N[pairs.row[~within]] + blob_N[pairs.col[~within]]) == {2, 3}  # the loner's
    assert pairs.data[~within].min() > 0.75
    assert dbscan(distances, 0.6, 4).tolist() == [0] * 10 + [1] * 10 + [-1]


def test_a_list_shorter_than_the_blob_drives_its_pictures_apart() -> None:
    distances = jaccard_distances(two_blobs_and_a_loner(), k1=6, k2=3).toarray()
    assert distances[:10, :10].max() > 0.5


def test_weights_of_every_picture_sum_to_1() -> None:
    emb = animals(300)
    for k1, k2 in ((20, 6), (8, 1), (6, 20)):
        weights = encode(emb, nearest(emb, max(k1, k2)), k1, k2)
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


def test_what_is_stored_grows_with_the_pictures_not_with_their_square() -> None:
    def entries(num_rows: int) -> NDArray[np.float64]:
        emb = animals(num_rows)
        weights = encode(emb, nearest(emb, 20), 20, 6)
        return np.array([weights.nnz, jaccard_distances(emb, 20, 6).nnz]) / num_rows

    few, many = entries(1000), entries(4000)
    assert (many < 1.25 * few).all()
    assert (many < 100).all()
