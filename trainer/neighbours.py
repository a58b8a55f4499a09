"""Which embeddings are nearest to which: exact search in blocks of rows.

    N embeddings, D their width, K neighbours, R rows of a block, G groups of identical rows

torch does the search: it runs on a GPU where training does. faiss is hardly faster (12 s against 13
on one core, 20,000 rows of 1280) and brings an OpenMP runtime of its own, which crashes beside
torch's on macOS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from edge.errors import InputError

_BLOCK_CELLS = 1 << 23  # similarities held at a time: 32 MB
_BLOCK_ROWS = 1024


def nearest(
    emb_ND: NDArray[np.float32], k: int, device: str | torch.device = "cpu"
) -> NDArray[np.int64]:
    """Indices [N, min(k, N)] of the nearest rows by cosine, exactly: self first, ties by index.

    Rows must have unit length (else InputError). Identical rows are searched once and follow each
    other in every list: they tie, but a matrix product need not give equal rows equal products
    (OpenBLAS does not, where the number of rows is no multiple of its tile).
    """
    _check_unit_rows(emb_ND)
    k = min(k, len(emb_ND))
    first_G, group_N = _identical_rows(emb_ND)
    if len(first_G) == len(emb_ND):
        return _search(emb_ND, k, device)
    ranked_GK = _search(emb_ND[first_G], min(k, len(first_G)), device)
    return _self_first(_members_of(ranked_GK, group_N, k)[group_N], group_N)


def _check_unit_rows(emb_ND: NDArray[np.float32]) -> None:
    if len(emb_ND) == 0:
        raise InputError("there are no embeddings to compare: give at least one picture")
    length_N = np.sqrt(np.einsum("nd,nd->n", emb_ND, emb_ND))
    wrong = np.flatnonzero(~(np.abs(length_N - 1.0) < 1e-3))  # NaN is wrong too
    if len(wrong):
        raise InputError(
            f"embedding {wrong[0]} has length {length_N[wrong[0]]:.3g} where 1 is needed: divide "
            "embeddings by their length; if it is nan, training diverged: lower the learning rate"
        )


def _identical_rows(
    emb_ND: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row of each group of identical rows, and every row's group, numbered by first row."""
    bits_ND = np.ascontiguousarray(emb_ND).view(np.uint32)
    factor_D = np.random.default_rng(0).integers(1, 1 << 63, bits_ND.shape[1], np.uint64)
    key_N = np.empty(len(bits_ND), np.uint64)
    for start in range(0, len(bits_ND), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        key_N[part] = bits_ND[part].astype(np.uint64) @ factor_D  # modulo 2^64, so exact
    _, first_G, group_N = np.unique(key_N, return_index=True, return_inverse=True)
    order = np.argsort(first_G)
    first_G, group_N = first_G[order], np.argsort(order)[group_N]
    copies = np.flatnonzero(first_G[group_N] != np.arange(len(group_N)))
    assert np.array_equal(bits_ND[copies], bits_ND[first_G[group_N[copies]]]), "keys collide"
    return first_G, group_N


def _search(emb_ND: NDArray[np.float32], k: int, device: str | torch.device) -> NDArray[np.int64]:
    """As `nearest`, for rows that differ.

    One buffer serves all blocks: freed and taken anew between small results that stay, they
    scatter over the heap (8 GB instead of 0.03 at 50,000 rows).
    """
    all_ND = torch.from_numpy(emb_ND).to(device)
    block = min(max(_BLOCK_CELLS // len(emb_ND), 1), len(emb_ND))
    buffer = all_ND.new_empty((block, len(emb_ND)))
    found_NK = np.empty((len(emb_ND), k), np.int64)
    with _full_precision():
        for start in range(0, len(emb_ND), block):
            rows_RD = all_ND[start : start + block]
            similarity = torch.mm(rows_RD, all_ND.T, out=buffer[: len(rows_RD)])
            similarity.diagonal(start).fill_(torch.inf)
            found_NK[start : start + block] = _top(similarity, k)
    return found_NK


@contextmanager
def _full_precision() -> Iterator[None]:
    """float32 products stay float32: TF32 or bfloat16, welcome in training, reorder neighbours."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _top(similarity: torch.Tensor, k: int) -> NDArray[np.int64]:
    """Columns [rows, k] of the largest values in each row, equal values by index."""
    top = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    value, index = top.values.cpu().numpy(), top.indices.cpu().numpy()
    by_value_then_index = np.lexsort((index, -value), axis=1)
    found = np.take_along_axis(index, by_value_then_index, axis=1)[:, :k]
    if value.shape[1] > k:  # topk leaves open which of several equal values it takes last
        tied = np.flatnonzero(value[:, k - 1] == value[:, k])
        if len(tied):
            ranked = similarity[tied].sort(dim=1, descending=True, stable=True)
            found[tied] = ranked.indices[:, :k].cpu().numpy()
    return found


def _members_of(
    ranked_GK: NDArray[np.int64], group_N: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """The first k rows that ranked groups hold [G, k], each group's rows by index."""
    size_G = np.bincount(group_N)
    rows_by_group = np.argsort(group_N, kind="stable")
    end_GK = np.minimum(np.cumsum(size_G[ranked_GK], axis=1), k)
    taken_GK = np.diff(end_GK, axis=1, prepend=0)
    shape = (len(ranked_GK), k)
    group = np.repeat(ranked_GK.ravel(), taken_GK.ravel()).reshape(shape)
    begin = np.repeat((end_GK - taken_GK).ravel(), taken_GK.ravel()).reshape(shape)
    return rows_by_group[(np.cumsum(size_G) - size_G)[group] + np.arange(k) - begin]


def _self_first(listed_NK: NDArray[np.int64], group_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lists that begin with a row's own group, changed to begin with the row itself."""
    size_G = np.bincount(group_N)
    place_N = np.empty_like(group_N)  # of a row in its group
    place_N[np.argsort(group_N, kind="stable")] = np.arange(len(group_N)) - np.repeat(
        np.cumsum(size_G) - size_G, size_G
    )
    position = np.arange(listed_NK.shape[1])
    before_self = position <= place_N[:, None]
    moved = np.take_along_axis(listed_NK, np.maximum(position - before_self, 0), axis=1)
    moved[:, 0] = np.arange(len(listed_NK))
    return moved
