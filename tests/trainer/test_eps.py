"""The choice of eps: up to where clusters would begin to run into each other."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import silhouette_score

from trainer.eps import LabelsAt, agreement_between, choose_eps, silhouette

ONES = np.ones(16, np.int64)


def steps(table: dict[float, str]) -> LabelsAt:
    """Labels by eps as letters, a dot for an outlier; between entries the lower one holds."""

    def labels_at(eps: float) -> NDArray[np.int64]:
        row = table[max(key for key in table if key <= eps + 1e-9)]
        return np.array([-1 if letter == "." else ord(letter) - ord("A") for letter in row])

    return labels_at


def test_eps_stops_before_clusters_merge() -> None:
    found = choose_eps(
        steps(
            {
                0.25: "AA..BB..CC..DD..",
                0.40: "AAA.BBB.CCC.DDD.",  # more join
                0.55: "AAAABBBBCCCCDDDD",  # all have
                0.65: "AAAAAAAACCCCDDDD",  # A and B run into each other
            }
        ),
        ONES,
    )
    assert found.eps == 0.60
    assert found.label_U.tolist() == [*[0] * 4, *[1] * 4, *[2] * 4, *[3] * 4]
    assert found.agreement == 1.0


def test_outliers_that_join_are_no_disagreement() -> None:
    before = np.array([0, 0, 1, 1, -1, -1])
    assert agreement_between(before, np.array([0, 0, 1, 1, 0, 1])) == 1.0
    assert agreement_between(before, np.array([0, 0, 0, 0, 1, 1])) < 0.5
    assert agreement_between(np.full(6, -1), np.arange(6)) == 1.0


def test_a_cluster_of_over_a_quarter_is_a_step_too_far() -> None:
    table = {0.25: "AA.BB..CC..DD...", 0.50: "AAAAABB.CC..DD.."}
    assert choose_eps(steps(table), ONES).eps == 0.45
    wide = np.where(np.arange(16) < 2, 4, 1)  # the first two rows are long bursts
    assert choose_eps(steps({0.25: "ABCCDDEEFFGGHHII", 0.50: "AACCDDEEFFGGHHII"}), wide).eps == 0.45


def test_where_nothing_clusters_the_smallest_eps_is_given() -> None:
    found = choose_eps(steps({0.25: "." * 16}), ONES)
    assert found.label_U.max() == -1


def test_the_silhouette_is_the_plain_one_over_clustered_rows() -> None:
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.normal(centre, 0.05, (8, 2)) for centre in (0.0, 0.3, 0.6)])
    dense = np.minimum(np.linalg.norm(places[:, None] - places[None], axis=2), 1.0)
    labels = np.repeat([0, 1, 2], 8)
    labels[[3, 20]] = -1
    near = dense <= 0.95
    stored = sparse.csr_matrix((dense[near], np.nonzero(near)), dense.shape)
    kept = labels >= 0
    filled = np.where(near, dense, 1.0)[kept][:, kept]
    np.fill_diagonal(filled, 0.0)
    expected = silhouette_score(filled, labels[kept], metric="precomputed")
    assert silhouette(stored, labels) == pytest.approx(expected, abs=1e-6)
    assert silhouette(stored, np.zeros(24, np.int64)) is None
