"""DBSCAN against scikit-learn's, and pseudo-labels that do not collapse."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN

from trainer.bursts import burst_means
from trainer.clustering import PseudoLabels, cluster, dbscan
from trainer.settings import ClusteringSettings

NO_PAIRS = np.zeros((0, 2), np.int64)


def fixed(k1: int, k2: int, eps: float | None, min_samples: int) -> ClusteringSettings:
    return ClusteringSettings(
        k1=k1, k2=k2, eps=eps, min_samples=min_samples, unit="pictures", flip_average=False
    )


def of_rows(emb: NDArray[np.float32], settings: ClusteringSettings) -> PseudoLabels:
    return cluster(emb, np.arange(len(emb)), NO_PAIRS, settings)


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def two_blobs_and_a_loner() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    blobs = [np.eye(8)[i] + 0.01 * rng.standard_normal((10, 8)) for i in (0, 1)]
    for blob in blobs:  # the loner's nearest neighbours: one of each blob
        blob[0, 2] += 0.1
    return unit_rows(np.concatenate([*blobs, np.eye(8)[2:3]]))


def six_overlapping_blobs() -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    centres = np.repeat(rng.standard_normal((6, 8)), 10, axis=0)
    return unit_rows(centres + 0.7 * rng.standard_normal((60, 8)))


FAR = 9.0


def graph(distances: NDArray[np.float64]) -> sparse.csr_matrix:
    """What is farther than 1 is not stored; the diagonal is."""
    row, col = np.nonzero(distances <= 1.0)
    return sparse.csr_matrix((distances[row, col], (row, col)), distances.shape)


def random_distances(seed: int) -> NDArray[np.float64]:
    """Points on a line, so that clusters touch and borders are shared; some in one place."""
    point = np.random.default_rng(seed).integers(0, 400, 120) / 4.0
    return np.abs(point[:, None] - point[None, :])


@pytest.mark.parametrize("min_samples", [1, 2, 4, 7])
@pytest.mark.parametrize("eps", [0.0, 0.25, 0.5, 1.0])
def test_labels_are_those_of_scikit_learn(eps: float, min_samples: int) -> None:
    for seed in range(10):
        distances = random_distances(seed)
        model = DBSCAN(eps=max(eps, 1e-9), min_samples=min_samples, metric="precomputed")
        expected = model.fit(distances).labels_
        np.testing.assert_array_equal(dbscan(graph(distances), eps, min_samples), expected)


def test_a_border_between_two_clusters_joins_the_first() -> None:
    # rows 0-2 and 4-6 are near each other; row 3 is near 2 and 4, too few to be a core
    distances = np.full((7, 7), FAR)
    distances[:3, :3] = distances[4:, 4:] = 0.2
    for i, j in ((3, 2), (3, 4)):
        distances[i, j] = distances[j, i] = 0.5
    np.fill_diagonal(distances, 0.0)
    assert dbscan(graph(distances), 0.5, 4).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert dbscan(graph(distances), 0.5, 3).tolist() == [0, 0, 0, 0, 0, 0, 0]


def test_a_row_counts_itself_whether_its_zero_is_stored_or_not() -> None:
    distances = graph(np.where(np.eye(3, dtype=bool), FAR, 0.3))
    assert distances.nnz == 6
    assert dbscan(distances, 0.3, 3).tolist() == [0, 0, 0]
    assert dbscan(distances, 0.3, 4).tolist() == [-1, -1, -1]


def test_two_blobs_are_two_clusters_and_the_loner_is_none() -> None:
    labels = of_rows(two_blobs_and_a_loner(), fixed(k1=10, k2=3, eps=0.6, min_samples=4))
    assert labels.label_N.tolist() == [0] * 10 + [1] * 10 + [-1]
    assert labels.usable
    assert labels.trouble is None


def test_a_giant_cluster_is_told_and_eps_made_smaller() -> None:
    emb = six_overlapping_blobs()
    settings = fixed(k1=12, k2=3, eps=0.65, min_samples=2)
    labels = of_rows(emb, settings)
    assert labels.usable
    assert labels.eps < 0.65
    assert labels.trouble is not None
    assert "one cluster holds" in labels.trouble
    assert f"used eps {labels.eps:.2f}" in labels.trouble


def test_bursts_are_judged_by_their_pictures() -> None:
    emb = six_overlapping_blobs()
    settings = fixed(k1=12, k2=3, eps=0.5, min_samples=2)
    as_rows = of_rows(emb, settings)
    assert as_rows.trouble is None
    largest = np.bincount(as_rows.label_N[as_rows.label_N >= 0]).argmax()
    frames = np.where(as_rows.label_N == largest, 6, 1)
    burst_N = np.repeat(np.arange(60), frames)
    by_burst = dataclasses.replace(settings, unit="bursts")
    labels = cluster(burst_means(emb[burst_N], burst_N), burst_N, NO_PAIRS, by_burst)
    assert len(labels.label_N) == frames.sum()
    assert labels.usable
    assert labels.eps < 0.5
    assert labels.trouble is not None


def test_no_clusters_at_all_is_told_with_advice() -> None:
    emb = unit_rows(np.eye(12))
    labels = of_rows(emb, fixed(k1=3, k2=1, eps=0.05, min_samples=4))
    assert not labels.usable
    assert labels.trouble is not None
    assert "a larger clustering.eps" in labels.trouble


def test_a_chosen_eps_finds_the_animals_and_says_how_sure_it_is() -> None:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((8, 16))
    emb = unit_rows(np.repeat(centres, 12, axis=0) + 0.5 * rng.standard_normal((96, 16)))
    labels = of_rows(emb, fixed(k1=12, k2=3, eps=None, min_samples=3))
    assert labels.trouble is None
    assert labels.num_clusters == 8
    assert [len(set(labels.label_N[12 * k : 12 * k + 12])) for k in range(8)] == [1] * 8
    assert labels.agreement is not None
    assert labels.agreement >= 0.85
    assert labels.silhouette is not None
    assert 0 < labels.silhouette <= 1


def test_pairs_of_one_picture_never_share_a_label() -> None:
    rng = np.random.default_rng(5)
    emb = unit_rows(np.repeat(np.eye(4), 10, axis=0) + 0.05 * rng.standard_normal((40, 4)))
    pairs = np.array([[0, 1], [2, 3], [10, 12]])
    settings = fixed(k1=8, k2=2, eps=0.6, min_samples=2)
    free = of_rows(emb, settings).label_N
    assert (free[pairs[:, 0]] == free[pairs[:, 1]]).all()
    found = cluster(emb, np.arange(40), pairs, settings).label_N
    assert (found[pairs[:, 0]] != found[pairs[:, 1]]).all()
    assert (found >= 0).sum() == (free >= 0).sum() - 3
