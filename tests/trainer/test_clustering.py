"""The sparse Jaccard distance against its definition written out, and what DBSCAN makes of it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.clustering import ClusteringSettings, cluster
from trainer.jaccard import MAX_DISTANCE, jaccard_distances
from trainer.neighbours import nearest


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def two_blobs_and_a_loner() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    blobs = [np.eye(8)[i] + 0.01 * rng.standard_normal((10, 8)) for i in (0, 1)]
    for blob in blobs:  # the loner's nearest neighbours: one of each blob
        blob[0, 2] += 0.1
    return unit_rows(np.concatenate([*blobs, np.eye(8)[2:3]]))


def slow_jaccard(emb: NDArray[np.float32], k1: int, k2: int) -> NDArray[np.float64]:
    """k-reciprocal Jaccard distance (Zhong et al. 2017) by its definition, one row at a time."""
    n = len(emb)
    order = nearest(emb, n)
    full = [set(order[i, :k1]) for i in range(n)]
    half = [set(order[i, : round(k1 / 2) + 1]) for i in range(n)]
    reciprocal = [{j for j in full[i] if i in full[j]} for i in range(n)]
    reciprocal_half = [{j for j in half[i] if i in half[j]} for i in range(n)]
    weights = np.zeros((n, n))
    for i in range(n):
        members = set(reciprocal[i])
        for c in reciprocal[i]:
            if len(reciprocal_half[c] & reciprocal[i]) > 2 / 3 * len(reciprocal_half[c]):
                members |= reciprocal_half[c]
        for j in members:
            weights[i, j] = np.exp(-(2 - 2 * float(emb[i] @ emb[j])))
        weights[i] /= weights[i].sum()
    if k2 > 1:
        weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(n)])
    shared = np.minimum(weights[:, None, :], weights[None, :, :]).sum(axis=2)
    return np.maximum(1 - shared / (2 - shared), 0)


def six_overlapping_blobs() -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    centres = np.repeat(rng.standard_normal((6, 8)), 10, axis=0)
    return unit_rows(centres + 0.7 * rng.standard_normal((60, 8)))


@pytest.mark.parametrize(("k1", "k2"), [(10, 3), (20, 6), (8, 1), (30, 6)])
def test_distances_equal_the_definition(k1: int, k2: int) -> None:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((9, 16))
    emb = unit_rows(np.repeat(centres, 7, axis=0) + 0.6 * rng.standard_normal((63, 16)))
    expected = slow_jaccard(emb, k1, k2)
    found = jaccard_distances(emb, k1, k2)
    dense = np.full(expected.shape, np.inf)
    coordinates = found.tocoo()
    dense[coordinates.row, coordinates.col] = coordinates.data
    near = expected <= MAX_DISTANCE - 1e-5
    np.testing.assert_allclose(dense[near], expected[near], atol=2e-6)
    assert np.isinf(dense[expected > MAX_DISTANCE + 1e-5]).all()


def test_two_blobs_are_two_clusters_and_the_loner_is_none() -> None:
    labels = cluster(
        two_blobs_and_a_loner(), ClusteringSettings(k1=10, k2=3, eps=0.6, min_samples=4)
    )
    assert labels.label_N.tolist() == [0] * 10 + [1] * 10 + [-1]
    assert labels.usable
    assert labels.trouble is None


def test_a_giant_cluster_is_told_and_eps_made_smaller() -> None:
    emb = six_overlapping_blobs()
    settings = ClusteringSettings(k1=12, k2=3, eps=0.65, min_samples=2)
    labels = cluster(emb, settings)
    assert labels.usable
    assert labels.eps < 0.65
    assert labels.trouble is not None
    assert "one cluster holds" in labels.trouble
    assert f"used eps {labels.eps:.2f}" in labels.trouble


def test_bursts_are_judged_by_their_pictures() -> None:
    emb = six_overlapping_blobs()
    settings = ClusteringSettings(k1=12, k2=3, eps=0.5, min_samples=2)
    as_rows = cluster(emb, settings)
    assert as_rows.trouble is None
    largest = np.bincount(as_rows.label_N[as_rows.label_N >= 0]).argmax()
    frames = np.where(as_rows.label_N == largest, 6, 1)
    burst_N = np.repeat(np.arange(60), frames)
    labels = cluster(emb, settings, burst_N)
    assert len(labels.label_N) == frames.sum()
    assert labels.usable
    assert labels.eps < 0.5
    assert labels.trouble is not None


def test_no_clusters_at_all_is_told_with_advice() -> None:
    emb = unit_rows(np.eye(12))
    labels = cluster(emb, ClusteringSettings(k1=3, k2=1, eps=0.05, min_samples=4))
    assert not labels.usable
    assert labels.trouble is not None
    assert "raise --eps" in labels.trouble
