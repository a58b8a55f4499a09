"""Retrieval figures on tables small enough to rank by eye, and against a slow version."""

import numpy as np
import pytest

from trainer.evaluation.metrics import retrieval


def test_ranks_and_average_precision_of_a_small_table() -> None:
    gallery = np.array(["A", "A", "B", "C", "C"])
    similarity = np.array(
        [
            [0.9, 0.8, 0.1, 0.0, -0.1],  # A: hits at ranks 1 and 2   AP 1              INP 2/2
            [0.9, 0.1, 0.8, 0.0, -0.1],  # B: one hit at rank 2       AP 1/2            INP 1/2
            [0.9, 0.1, 0.8, 0.2, -0.1],  # A: hits at ranks 1 and 4   AP (1 + 2/4) / 2  INP 2/4
            [0.9, 0.7, 0.8, 0.6, -0.1],  # C: hits at ranks 4 and 5   AP (1/4 + 2/5)/2  INP 2/5
        ],
        np.float32,
    )
    figures = retrieval(similarity, np.array(["A", "B", "A", "C"]), gallery)
    assert figures.mean_ap == pytest.approx((1 + 0.5 + 0.75 + 0.325) / 4)
    assert figures.mean_inp == pytest.approx((1 + 0.5 + 0.5 + 0.4) / 4)
    assert figures.rank1 == pytest.approx(2 / 4)
    assert figures.rank5 == 1.0
    assert figures.num_queries == 4


def test_a_query_without_its_animal_in_the_gallery_is_left_out() -> None:
    figures = retrieval(np.array([[0.5]], np.float32), np.array(["Z"]), np.array(["A"]))
    assert (figures.num_queries, figures.num_skipped) == (0, 1)


def test_a_row_at_minus_infinity_does_not_count() -> None:
    similarity = np.array([[-np.inf, 0.2, 0.1]], np.float32)
    figures = retrieval(similarity, np.array(["A"]), np.array(["A", "B", "A"]))
    assert figures.mean_ap == pytest.approx(0.5)
    assert figures.mean_inp == pytest.approx(0.5)


@pytest.mark.parametrize(("place", "ranks"), [(1, 4), (2, 3), (5, 3), (6, 2), (11, 1), (21, 0)])
def test_a_first_hit_counts_for_every_rank_at_or_behind_it(place: int, ranks: int) -> None:
    gallery = np.array(["A" if number == place else "B" for number in range(1, 26)])
    similarity = -np.arange(25, dtype=np.float32)[None, :]
    figures = retrieval(similarity, np.array(["A"]), gallery)
    found = [figures.rank1, figures.rank5, figures.rank10, figures.rank20]
    assert found == [0.0] * (4 - ranks) + [1.0] * ranks


def _slow(row: list[float], identity: str, gallery: list[str]) -> tuple[float, float, int]:
    """Average precision, inverse negative penalty and rank of the first hit, by reading a list."""
    pairs = [(value, name) for value, name in zip(row, gallery, strict=True) if value > -np.inf]
    ranked = [name for _, name in sorted(pairs, key=lambda pair: -pair[0])]
    precisions, last, first = [], 0, 0
    for rank in range(1, len(ranked) + 1):
        if ranked[rank - 1] == identity:
            precisions.append(ranked[:rank].count(identity) / rank)
            last, first = rank, first or rank
    return sum(precisions) / len(precisions), ranked.count(identity) / last, first


def test_figures_equal_those_of_reading_each_list() -> None:
    rng = np.random.default_rng(3)
    gallery = rng.choice(list("ABCDE"), 60)
    queries = rng.choice(list("ABCDE"), 30)
    similarity = rng.normal(size=(30, 60)).astype(np.float32)
    similarity[rng.random((30, 60)) < 0.2] = -np.inf
    slow = [
        _slow(list(row), name, list(gallery)) for row, name in zip(similarity, queries, strict=True)
    ]
    figures = retrieval(similarity, queries, gallery)
    precision, penalty, first = (np.array(column) for column in zip(*slow, strict=True))
    assert figures.mean_ap == pytest.approx(precision.mean())
    assert figures.mean_inp == pytest.approx(penalty.mean())
    found = (figures.rank1, figures.rank5, figures.rank10, figures.rank20)
    assert found == pytest.approx([(first <= rank).mean() for rank in (1, 5, 10, 20)])
    assert 0 < figures.rank1 < figures.rank5
