"""The individuals most like a crop: listed fast, compared exactly.

The individuals that may be among the nearest are found with float32 products, whose last bits
depend on how many crops and exemplars are multiplied at once. They are then compared with the crop
anew, in float64 and one pair at a time. So an answer is the same whether crops come alone or
together, and with any number of threads. Above 100,000 exemplars the list comes from an index,
where there is one (edge/gallery/search_index.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from edge.gallery.search_exact import dots, is_close, tolerance_of, unit
from edge.gallery.search_index import rows_of
from edge.gallery.search_list import (
    BLOCK,
    SIDES,
    Cells,
    ExemplarList,
    Listed,
    blocks,
    joined,
    widen,
)

_LISTED = 256  # exemplars; hardly slower than a dozen, and mostly more than six animals
_MANY_CROPS = 12  # from so many on, one matrix product is quicker than a search a crop
_CROPS_AT_ONCE = 64
_ROWS_AT_ONCE = 4096
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Candidates, and how similar each crop is to their best exemplar of a side that fits."""

    individual_C: NDArray[np.int64]  # ascending
    similarity_NC: NDArray[np.float32]  # -inf: no exemplar of the candidate fits


class Search:
    """The exemplars of a gallery by their row; individuals are numbered from 0, none is empty."""

    def __init__(
        self,
        embeddings: Sequence[NDArray[np.float16]],
        individual_M: NDArray[np.int64],
        side_M: NDArray[np.int64],  # -1 left, 1 right, 0 unknown
        embedding_dim: int,
        index: Any = None,  # as `search_index.load` gives it
    ) -> None:
        faiss.omp_set_num_threads(1)  # a handful of crops: threads only cost battery
        self._individual_M, self._side_M, self._dim = individual_M, side_M, embedding_dim
        self._order_M = np.argsort(individual_M, kind="stable")
        num_individuals = int(individual_M.max(initial=-1)) + 1
        self._start_I = np.searchsorted(
            individual_M, np.arange(num_individuals + 1), sorter=self._order_M
        )
        self._num_fitting = {
            side: len(np.unique(individual_M[side_M * side != -1])) for side in SIDES
        }
        self._has_index = index is not None
        self._lists = _lists(embeddings, individual_M, side_M, embedding_dim, index)
        self._list_M = np.zeros(len(individual_M), np.int64)
        self._position_M = np.zeros(len(individual_M), np.int64)
        self._inverse_M = np.ones(len(individual_M), np.float32)
        for number, one in enumerate(self._lists):
            self._list_M[one.row_P] = number
            self._position_M[one.row_P] = np.arange(len(one.row_P))
            self._inverse_M[one.row_P] = one.inverse_P

    @property
    def num_one_by_one(self) -> int:
        """Exemplars that no index leads to."""
        return sum(len(one.row_P) for one in self._lists if not one.is_indexed)

    def unit_rows(self, row_R: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """The embeddings of these rows, or of all, at unit length: [R, D]."""
        rows = np.arange(len(self._individual_M)) if row_R is None else row_R
        unit_RD = np.empty((len(rows), self._dim), np.float32)
        for block in blocks(len(rows), BLOCK):
            unit_RD[block] = unit(widen(self._codes(rows[block])))
        return unit_RD

    def nearest(
        self, emb_ND: NDArray[np.float32], side_N: NDArray[np.int64], num_wanted: int
    ) -> Found:
        """The individuals nearest to any of the crops, so many a crop of those that fit it."""
        emb_ND = np.ascontiguousarray(emb_ND, np.float32)
        is_bulk = len(emb_ND) >= _MANY_CROPS and len(self._individual_M) and not self._has_index
        find = self._list_together if is_bulk else self._list_one_by_one
        tolerance_N = np.array([tolerance_of(emb_D) for emb_D in emb_ND])
        found = find(emb_ND, side_N, tolerance_N, num_wanted)
        listed = found[0] if len(found) == 1 else np.unique(np.concatenate([_NONE, *found]))
        similarity_NL = self._similarities(emb_ND, side_N, tolerance_N, listed)
        nearest_NK = np.argsort(-similarity_NL, axis=1, kind="stable")[:, :num_wanted]
        is_chosen_L = np.zeros(len(listed), bool)
        is_chosen_L[nearest_NK] = True
        chosen = np.flatnonzero(is_chosen_L & (similarity_NL > -np.inf).any(axis=0))
        return Found(individual_C=listed[chosen], similarity_NC=similarity_NL[:, chosen])

    def _list_one_by_one(
        self,
        emb_ND: NDArray[np.float32],
        side_N: NDArray[np.int64],
        tolerance_N: NDArray[np.float64],
        num_wanted: int,
    ) -> list[NDArray[np.int64]]:
        """Of each crop the individuals that may be among its nearest; an index may miss one."""
        return [
            self._list_one(emb_D, side, min(num_wanted, self._num_fitting[side]), tolerance)
            for emb_D, side, tolerance in zip(
                emb_ND, side_N.tolist(), tolerance_N.tolist(), strict=True
            )
        ]

    def _list_one(
        self, emb_D: NDArray[np.float32], side: int, wanted: int, tolerance: float
    ) -> NDArray[np.int64]:
        """More exemplars are listed until no other individual can be among the nearest: one with
        thousands of exemplars hides nobody. Ascending."""
        for num_exemplars in (_LISTED, 8 * _LISTED, len(self._individual_M)):
            found = [one.nearest(emb_D, side, num_exemplars) for one in self._lists]
            listed, best_L = _best_of_listed(found)
            limit = _limit(best_L, wanted, tolerance)
            if len(listed) >= wanted and max(one.bound for one in found) < limit:
                break
        return np.asarray(listed[best_L >= limit])

    def _list_together(
        self,
        emb_ND: NDArray[np.float32],
        side_N: NDArray[np.int64],
        tolerance_N: NDArray[np.float64],
        num_wanted: int,
    ) -> list[NDArray[np.int64]]:
        """The same for many crops, by a matrix product."""
        lists = []
        for crops in blocks(len(emb_ND), _CROPS_AT_ONCE):
            best_NI = self._best_of_each(emb_ND[crops], side_N[crops])
            for best_I, side, tolerance in zip(
                best_NI, side_N[crops].tolist(), tolerance_N[crops].tolist(), strict=True
            ):
                limit = _limit(best_I, min(num_wanted, self._num_fitting[side]), tolerance)
                lists.append(np.flatnonzero(best_I >= limit))
        return lists

    def _best_of_each(
        self, emb_ND: NDArray[np.float32], side_N: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Nearly each crop's similarity to each individual: [N, I]. Not through an index."""
        (every,) = self._lists
        similarity_MN = np.empty((len(every.row_P), len(emb_ND)), np.float32)
        for block in blocks(len(similarity_MN), BLOCK):
            np.matmul(widen(every.codes_PD[block]), emb_ND.T, out=similarity_MN[block])
        similarity_MN *= every.inverse_P[:, None]
        similarity_MN[self._side_M[:, None] * side_N == -1] = -np.inf
        best_IN = np.maximum.reduceat(similarity_MN[self._order_M], self._start_I[:-1])
        return np.asarray(best_IN.T)

    def _similarities(
        self,
        emb_ND: NDArray[np.float32],
        side_N: NDArray[np.int64],
        tolerance_N: NDArray[np.float64],
        listed: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Exactly, to the best exemplar of each listed individual: [N, L]."""
        similarity_NL = np.full((len(emb_ND), len(listed)), -np.inf, np.float32)
        span_L = zip(
            self._start_I[listed].tolist(), self._start_I[listed + 1].tolist(), strict=True
        )
        own = [self._order_M[start:end] for start, end in span_L]
        row_R = np.concatenate([_NONE, *own])
        place_R = np.repeat(np.arange(len(listed)), [len(rows) for rows in own])
        for block in blocks(len(row_R), _ROWS_AT_ONCE):
            row_B, place_B = row_R[block], place_R[block]
            emb_BD = widen(self._codes(row_B))
            nearly_NB = emb_ND @ emb_BD.T
            nearly_NB *= self._inverse_M[row_B]
            if side_N.any():
                nearly_NB[side_N[:, None] * self._side_M[row_B] == -1] = -np.inf
            is_close_NB = is_close(nearly_NB, place_B, tolerance_N)
            close = np.flatnonzero(is_close_NB.any(axis=0))
            emb_BD[close] = unit(emb_BD[close])
            crop_P, row_P = np.nonzero(is_close_NB)
            exactly_P = dots(emb_ND, crop_P, emb_BD, row_P)
            np.maximum.at(similarity_NL, (crop_P, place_B[row_P]), exactly_P)
        return similarity_NL

    def _codes(self, row_R: NDArray[np.int64]) -> NDArray[np.float16]:
        if len(self._lists) == 1:
            return self._lists[0].codes_PD.take(self._position_M[row_R], axis=0)
        codes_RD = np.empty((len(row_R), self._dim), np.float16)
        for number, one in enumerate(self._lists):
            mine = self._list_M[row_R] == number
            codes_RD[mine] = one.codes_PD[self._position_M[row_R[mine]]]
        return codes_RD


def _lists(
    embeddings: Sequence[NDArray[np.float16]],
    individual_M: NDArray[np.int64],
    side_M: NDArray[np.int64],
    embedding_dim: int,
    index: Any,
) -> list[ExemplarList]:
    """Those the index knows, and the others."""
    rest, lists = np.arange(len(embeddings)), []
    if index is not None:
        row_Q = rows_of(index, embeddings)
        held = row_Q[row_Q >= 0]
        rest = np.setdiff1d(rest, held)
        cells = Cells(index, row_Q)
        lists.append(ExemplarList(embeddings, embedding_dim, held, individual_M, side_M, cells))
    if len(rest) or not lists:
        lists.append(ExemplarList(embeddings, embedding_dim, rest, individual_M, side_M))
    return lists


def _best_of_listed(found: list[Listed]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The individuals of these exemplars, ascending, and nearly their best similarities."""
    individual_K = joined([one.individual_K for one in found])
    listed, place_K = np.unique(individual_K, return_inverse=True)
    best_L = np.full(len(listed), -np.inf, np.float32)
    np.maximum.at(best_L, place_K, joined([one.similarity_K for one in found]))
    return listed, best_L


def _limit(best_L: NDArray[np.float32], wanted: int, tolerance: float) -> float:
    """Whoever lies below cannot be among so many nearest."""
    if not wanted:
        return np.inf
    if len(best_L) < wanted:
        return -np.inf
    return float(np.partition(best_L, -wanted)[-wanted]) - tolerance
