"""k-reciprocal re-ranking against the definitions, written with sets and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.evaluation.metrics import retrieval
from trainer.evaluation.rerank import rerank


def animals(
    seed: int, num_rows: int, noise: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit rows around six centres, and whose they are."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, num_rows)
    rows = rng.normal(size=(6, 12))[label] + noise * rng.normal(size=(num_rows, 12))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), label


def by_definition(emb: NDArray[np.float32], k1: int, k2: int, weight: float) -> list[list[float]]:
    """Final similarities between all rows; one minus equation 12."""
    n = len(emb)
    rows = range(n)
    exact = emb.astype(np.float64)
    far = [[max(2 - 2 * float(exact[i] @ exact[j]), 0.0) for j in rows] for i in rows]
    far = [[one / max(line) for one in line] for line in far]
    order = [sorted(rows, key=lambda j: (j != i, far[i][j])) for i in rows]

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    company = []
    for i in rows:
        members = set(mutual(i, k1))
        for j in mutual(i, k1):
            candidates = mutual(j, round(k1 / 2))
            if len(candidates & mutual(i, k1)) > 2 / 3 * len(candidates):
                members |= candidates
        total = sum(math.exp(-far[i][j]) for j in members)
        company.append([math.exp(-far[i][j]) / total if j in members else 0.0 for j in rows])
    mean = [[sum(company[j][m] for j in order[i][:k2]) / k2 for m in rows] for i in rows]
    final = []
    for i in rows:
        line = []
        for j in rows:
            both = sum(min(mean[i][m], mean[j][m]) for m in rows)
            either = sum(max(mean[i][m], mean[j][m]) for m in rows)
            line.append(1 - ((1 - weight) * (1 - both / either) + weight * far[i][j]))
        final.append(line)
    return final


@pytest.mark.parametrize(("k1", "k2", "weight"), [(8, 3, 0.3), (5, 1, 0.3), (7, 4, 0.0)])
def test_similarities_follow_the_definition(k1: int, k2: int, weight: float) -> None:
    emb, _ = animals(seed=1, num_rows=40, noise=0.8)
    slow = np.array(by_definition(emb, k1, k2, weight))
    query, gallery = np.arange(0, 12), np.arange(12, 40)
    fast = rerank(emb, query, gallery, k1, k2, weight)
    np.testing.assert_allclose(fast, slow[:12, 12:], atol=2e-5)
    everything = np.arange(40)
    np.testing.assert_allclose(rerank(emb, everything, everything, k1, k2, weight), slow, atol=2e-5)


def test_re_ranking_finds_animals_that_plain_cosines_miss() -> None:
    emb, label = animals(seed=2, num_rows=150, noise=1.0)
    names = label.astype(str)
    query, gallery = np.arange(0, 50), np.arange(50, 150)
    plain = retrieval(emb[query] @ emb[gallery].T, names[query], names[gallery])
    better = retrieval(rerank(emb, query, gallery), names[query], names[gallery])
    assert better.mean_ap > plain.mean_ap + 0.03


def test_fewer_rows_than_neighbours_and_equal_rows_are_no_trouble() -> None:
    emb = np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1))
    similarity = rerank(emb, np.arange(2), np.arange(2, 4))
    assert np.isfinite(similarity).all()
    np.testing.assert_allclose(similarity, 1.0, atol=1e-5)
