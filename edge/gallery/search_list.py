"""Exemplars in a faiss index, kept once: in float16, as the database has them.

What the index gives is a list to look into, not an answer (edge/gallery/search.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

_faiss: Any = faiss  # its type stubs lack some of its classes and arguments
BLOCK = 512  # rows widened at once: they stay in a core's cache
SIDES = (-1, 0, 1)  # left, unknown, right
_SHARE_PROBED = 0.15  # of the cells (decision 0012)
_MIN_PROBED = 192  # fewer cells are larger ones, of which more are needed
_SHIFT = 13  # float32 has 13 more bits behind the point
_SIGN_AND_SHIFTED = np.int32(-0x70002000)  # 0x8FFFE000
_SCALE = np.float32(2.0**112)  # float16 counts exponents from 15, float32 from 127


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Exemplars near a crop."""

    individual_K: NDArray[np.int64]  # whose they are
    similarity_K: NDArray[np.float32]  # nearly
    bound: float  # no exemplar that is not listed is nearer; an index may miss one


class Cells:
    """The cells of an index, and where each of its exemplars lies in a list."""

    def __init__(self, index: Any, row_Q: NDArray[np.int64]) -> None:
        """`row_Q` is -1 for what the list does not hold; the others are there in this order."""
        self._index = index  # or else its parts go with it
        self._turn = faiss.downcast_index(index.index)
        self._is_held_Q = row_Q >= 0
        self._position_Q = None if self._is_held_Q.all() else np.cumsum(self._is_held_Q) - 1
        self._how: dict[int, Any] = {}

    def fit(self, side: int, fits_P: NDArray[np.bool_]) -> None:
        """Which of the list's exemplars fit a crop of that side."""
        num_cells = int(_faiss.extract_index_ivf(self._index).nlist)
        within = _faiss.SearchParametersIVF()
        num_probed = max(int(num_cells * _SHARE_PROBED), _MIN_PROBED)
        within.nprobe = min(num_probed, num_cells)
        fits_Q = np.zeros(len(self._is_held_Q), bool)
        fits_Q[self._is_held_Q] = fits_P
        if not fits_Q.all():
            within.sel = selector_of(fits_Q)
        self._how[side] = _faiss.SearchParametersPreTransform()
        self._how[side].index_params = within

    def near(self, emb_D: NDArray[np.float32], side: int, num_wanted: int) -> NDArray[np.int64]:
        """Positions in the list of those that seem nearest; at most so many."""
        _, position_1K = self._turn.search(emb_D[None], num_wanted, params=self._how[side])
        place_K = position_1K[0, position_1K[0] >= 0]
        return np.asarray(place_K if self._position_Q is None else self._position_Q[place_K])


class ExemplarList:
    """Exemplars compared one by one, or where an index leads to."""

    def __init__(
        self,
        embeddings: Sequence[NDArray[np.float16]],
        embedding_dim: int,
        row_P: NDArray[np.int64],  # of the gallery
        individual_M: NDArray[np.int64],
        side_M: NDArray[np.int64],
        cells: Cells | None = None,
    ) -> None:
        self.row_P, self._cells = row_P, cells
        self._individual_P = individual_M[row_P]
        self._flat = _flat_index([embeddings[row] for row in row_P.tolist()], embedding_dim)
        self.codes_PD = _codes_of(self._flat)
        lengths_P = np.ones(len(row_P), np.float32)
        for block in blocks(len(row_P), BLOCK):
            lengths_P[block] = np.linalg.norm(widen(self.codes_PD[block]), axis=1)
        self.inverse_P = np.float32(1.0) / lengths_P
        self._inverses = (
            float(self.inverse_P.min(initial=np.inf)),
            float(self.inverse_P.max(initial=0.0)),
        )
        self._num_fitting: dict[int, int] = {}
        self._selector: dict[int, Any] = {}
        for side in SIDES:
            fits_P = side_M[row_P] * side != -1
            self._num_fitting[side] = int(fits_P.sum())
            if not fits_P.all():
                self._selector[side] = selector_of(fits_P)
            if cells is not None:
                cells.fit(side, fits_P)

    @property
    def is_indexed(self) -> bool:
        return self._cells is not None

    def nearest(self, emb_D: NDArray[np.float32], side: int, num_wanted: int) -> Listed:
        """So many exemplars of a side that fits, or all there are; through an index maybe fewer."""
        there = self._num_fitting[side]
        wanted = min(num_wanted, there)
        if not wanted:
            none = np.zeros(0, np.int64)
            return Listed(individual_K=none, similarity_K=none.astype(np.float32), bound=-np.inf)
        if self._cells is not None and wanted < there:
            position_K = self._cells.near(emb_D, side, wanted)
            dot_K = widen(self.codes_PD.take(position_K, axis=0)) @ emb_D
        else:
            how = _faiss.SearchParameters()
            how.sel = self._selector.get(side)
            dot_1K, position_1K = self._flat.search(emb_D[None], wanted, params=how)
            found = position_1K[0] >= 0
            position_K, dot_K = position_1K[0, found], dot_1K[0, found]
        return Listed(
            individual_K=self._individual_P[position_K],
            similarity_K=dot_K * self.inverse_P[position_K],
            bound=-np.inf if wanted == there else self._bound(float(dot_K.min(initial=np.inf))),
        )

    def _bound(self, lowest_dot: float) -> float:
        """The largest similarity that a dot product of at most so much can be."""
        least, most = self._inverses
        return lowest_dot * (most if lowest_dot > 0 else least)


def selector_of(fits_P: NDArray[np.bool_]) -> Any:
    return _faiss.IDSelectorBitmap(np.packbits(fits_P, bitorder="little"))


def _flat_index(embeddings: Sequence[NDArray[np.float16]], embedding_dim: int) -> Any:
    """Compared one by one, in the order given. They are written into its memory as they are:
    faiss would take them widened, and narrow them again."""
    index: Any = faiss.index_factory(embedding_dim, "SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.codes.resize(len(embeddings) * embedding_dim * np.dtype(np.float16).itemsize)
    index.ntotal = len(embeddings)
    codes_PD = _codes_of(index)
    for block in blocks(len(embeddings), BLOCK):
        np.stack(embeddings[block], out=codes_PD[block])
    return index


def _codes_of(flat: Any) -> NDArray[np.float16]:
    """The index's own memory, [P, D]; it must not grow from here on."""
    if not flat.ntotal:
        return np.zeros((0, flat.d), np.float16)
    codes = faiss.rev_swig_ptr(flat.codes.data(), flat.codes.size())
    return np.asarray(codes.view(np.float16).reshape(flat.ntotal, flat.d))


def widen(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same finite numbers in float32; five times as quick as numpy's own conversion."""
    bits = np.ascontiguousarray(values).view(np.int16).astype(np.int32)
    bits <<= _SHIFT
    bits &= _SIGN_AND_SHIFTED
    wide = bits.view(np.float32)
    wide *= _SCALE
    return wide


def joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def blocks(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
