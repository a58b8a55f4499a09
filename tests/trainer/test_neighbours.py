"""The neighbour search against sorting everything."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edge.errors import InputError
from trainer.neighbours import nearest


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_rows(num_rows: int, width: int) -> NDArray[np.float32]:
    return unit_rows(np.random.default_rng(0).standard_normal((num_rows, width)))


def sorted_rows(emb: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Every row's list from sorting all rows by (self, cosine to 1e-9, index)."""
    similarity = np.round(emb.astype(np.float64) @ emb.T.astype(np.float64), 9)
    np.fill_diagonal(similarity, np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def test_neighbours_are_those_of_sorting_everything() -> None:
    emb = random_rows(3000, 12)  # more than one block of rows
    found = nearest(emb, 20)
    assert found.shape == (3000, 20)
    for i in range(0, 3000, 9):
        similarity = np.round(emb.astype(np.float64) @ emb[i], 9)
        similarity[i] = np.inf
        assert found[i].tolist() == np.argsort(-similarity, kind="stable")[:20].tolist()


def test_identical_pictures_come_by_index_after_the_picture_itself() -> None:
    emb = random_rows(6, 8)
    emb[[1, 4]] = emb[2]
    assert nearest(emb, 3)[[1, 2, 4]].tolist() == [[1, 2, 4], [2, 1, 4], [4, 1, 2]]


@pytest.mark.parametrize("k", [1, 2, 5, 12, 200])
def test_copies_tie_from_wherever_they_are_seen(k: int) -> None:
    rng = np.random.default_rng(1)
    emb = random_rows(60, 19)[rng.integers(0, 60, 150)]  # up to about seven copies of each
    np.testing.assert_array_equal(nearest(emb, k), sorted_rows(emb, k))


def test_more_copies_than_neighbours_leave_every_picture_in_its_own_list() -> None:
    emb = np.repeat(random_rows(2, 8), 40, axis=0)
    found = nearest(emb, 5)
    assert (found[:, 0] == np.arange(80)).all()
    assert found[50].tolist() == [50, 40, 41, 42, 43]


def test_a_picture_leads_its_own_list_though_rounding_made_another_row_longer() -> None:
    emb = np.array([[0.9995, 0.0], [1.0005, 0.0], [0.0, 1.0]], np.float32)
    assert nearest(emb, 2).tolist() == [[0, 1], [1, 0], [2, 0]]


def test_equal_similarities_go_by_index() -> None:
    emb = np.eye(64, dtype=np.float32)
    expected = [[i, *(j for j in range(6) if j != i)][:5] for i in range(64)]
    assert nearest(emb, 5).tolist() == expected


def test_copies_follow_each_other_where_others_tie_with_them() -> None:
    emb = np.eye(8, dtype=np.float32)[[5, 3, 7, 3, 1, 5, 0]]
    assert nearest(emb, 7).tolist() == [
        [0, 5, 1, 3, 2, 4, 6],
        [1, 3, 0, 5, 2, 4, 6],
        [2, 0, 5, 1, 3, 4, 6],
        [3, 1, 0, 5, 2, 4, 6],
        [4, 0, 5, 1, 3, 2, 6],
        [5, 0, 1, 3, 2, 4, 6],
        [6, 0, 5, 1, 3, 2, 4],
    ]


def test_equal_similarities_inside_a_list_go_by_index_too() -> None:
    # row 0 sees 40 rows at 0.6 and 40 at 0.28, each in a direction of its own, shuffled
    cosine = np.random.default_rng(0).permutation(np.repeat([0.6, 0.28], 40))
    emb = np.eye(81)
    emb[1:, 0] = cosine
    emb[np.arange(1, 81), np.arange(1, 81)] = np.sqrt(1.0 - cosine**2)
    expected = [0, *(np.flatnonzero(cosine == 0.6) + 1)]
    assert nearest(emb.astype(np.float32), 41)[0].tolist() == expected


@pytest.mark.parametrize(("num_rows", "k"), [(1, 1), (1, 30), (2, 30), (5, 5)])
def test_few_pictures_have_short_lists(num_rows: int, k: int) -> None:
    emb = random_rows(num_rows, 8)
    np.testing.assert_array_equal(nearest(emb, k), sorted_rows(emb, k))


@pytest.fixture
def coarse_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


def test_coarse_products_are_as_before_after_a_search(coarse_products: None) -> None:
    nearest(random_rows(50, 8), 5)
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize(("value", "told"), [(np.nan, "nan"), (0.0, "0"), (3.0, "3")])
def test_an_embedding_without_unit_length_is_refused(value: float, told: str) -> None:
    emb = np.eye(5, dtype=np.float32)
    emb[3, 3] = value
    with pytest.raises(InputError, match=f"embedding 3 has length {told} where 1 is needed"):
        nearest(emb, 2)


def test_no_embeddings_are_refused() -> None:
    with pytest.raises(InputError, match="give at least one picture"):
        nearest(np.empty((0, 8), np.float32), 2)


@pytest.mark.gpu
def test_a_gpu_finds_the_same_neighbours_though_training_wants_coarse_products(
    coarse_products: None,
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    emb = random_rows(600, 64)[np.random.default_rng(1).integers(0, 600, 1500)]
    np.testing.assert_array_equal(nearest(emb, 20, "cuda"), sorted_rows(emb, 20))
