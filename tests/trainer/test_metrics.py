"""Retrieval figures on a table small enough to rank by eye."""

import numpy as np
import pytest

from trainer.metrics import retrieval


def test_ranks_and_average_precision_of_a_small_table() -> None:
    gallery = np.array(["A", "A", "B", "C"])
    similarity = np.array(
        [
            [0.9, 0.8, 0.1, 0.0],  # A: both hits first            AP 1
            [0.9, 0.1, 0.8, 0.0],  # B: one hit at rank 2          AP 1/2
            [0.9, 0.1, 0.8, 0.2],  # A: hits at ranks 1 and 4      AP (1 + 2/4) / 2
        ],
        np.float32,
    )
    figures = retrieval(similarity, np.array(["A", "B", "A"]), gallery)
    assert figures.mean_ap == pytest.approx((1 + 0.5 + 0.75) / 3)
    assert figures.rank1 == pytest.approx(2 / 3)
    assert figures.rank5 == 1.0
    assert figures.num_queries == 3


def test_a_query_without_its_animal_in_the_gallery_is_left_out() -> None:
    figures = retrieval(np.array([[0.5]], np.float32), np.array(["Z"]), np.array(["A"]))
    assert (figures.num_queries, figures.num_skipped) == (0, 1)


def test_a_row_at_minus_infinity_does_not_count() -> None:
    similarity = np.array([[-np.inf, 0.2, 0.1]], np.float32)
    figures = retrieval(similarity, np.array(["A"]), np.array(["A", "B", "A"]))
    assert figures.mean_ap == pytest.approx(0.5)
