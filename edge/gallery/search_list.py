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
_SHIFT = 13  # float32 has 13 more bits behind the point
_SIGN_AND_SHIFTED = np.int32(-0x70002000)  # 0x8FFFE000
_SCALE = np.float32(2.0**112)  # float16 counts exponents from 15, float32 from 127


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Exemplars near a crop, nearest first."""

    row_K: NDArray[np.int64]  # of the gallery
    similarity_K: NDArray[np.float32]  # nearly
    bound: float  # no exemplar that is not listed is nearer; a graph may miss one


class ExemplarList:
    """A faiss index and the row of the gallery that each of its positions is."""

    def __init__(
        self, index: Any, row_P: NDArray[np.int64], side_M: NDArray[np.int64], is_graph: bool
    ) -> None:
        self.index, self.row_P, self.is_graph = index, row_P, is_graph
        flat = faiss.downcast_index(index.storage) if is_graph else index
        self._flat = flat
        self.codes_PD = codes_of(flat)
        lengths_P = np.ones(len(row_P), np.float32)
        for block in blocks(len(row_P), BLOCK):
            lengths_P[block] = np.linalg.norm(widen(self.codes_PD[block]), axis=1)
        self.inverse_P = np.float32(1.0) / lengths_P
        known_P = row_P >= 0
        self._known_inverse = self.inverse_P[known_P] if known_P.any() else np.ones(1, np.float32)
        self._num_fitting: dict[int, int] = {}
        self._selector: dict[int, Any] = {}
        for side in SIDES:
            fits_P = known_P & (side_M[row_P] * side != -1) if len(side_M) else known_P
            self._num_fitting[side] = int(fits_P.sum())
            if not fits_P.all():
                bits = np.packbits(fits_P, bitorder="little")
                self._selector[side] = _faiss.IDSelectorBitmap(bits)

    def nearest(self, emb_D: NDArray[np.float32], side: int, num_wanted: int) -> Listed:
        """So many exemplars of a side that fits, or all there are."""
        there = self._num_fitting[side]
        wanted = min(num_wanted, there)
        if not wanted:
            none = np.zeros(0, np.int64)
            return Listed(row_K=none, similarity_K=none.astype(np.float32), bound=-np.inf)
        selector = self._selector.get(side)
        if self.is_graph and wanted < there:
            how = _faiss.SearchParametersHNSW(efSearch=wanted, sel=selector)
            dot_1K, position_1K = self.index.search(emb_D[None], wanted, params=how)
        else:
            how = _faiss.SearchParameters()
            how.sel = selector
            dot_1K, position_1K = self._flat.search(emb_D[None], wanted, params=how)
        found = position_1K[0] >= 0
        position_K, dot_K = position_1K[0, found], dot_1K[0, found]
        return Listed(
            row_K=self.row_P[position_K],
            similarity_K=dot_K * self.inverse_P[position_K],
            bound=-np.inf if wanted == there else self._bound(float(dot_K[-1])),
        )

    def _bound(self, lowest_dot: float) -> float:
        """The largest similarity that a dot product of at most so much can be."""
        inverse = self._known_inverse.max() if lowest_dot > 0 else self._known_inverse.min()
        return lowest_dot * float(inverse)


def flat_index(embeddings: Sequence[NDArray[np.float16]], embedding_dim: int) -> Any:
    """Compared one by one, in the order given."""
    index = faiss.index_factory(embedding_dim, "SQfp16", faiss.METRIC_INNER_PRODUCT)
    for block in blocks(len(embeddings), BLOCK):
        index.add(widen(np.stack(embeddings[block])))
    return index


def codes_of(flat: Any) -> NDArray[np.float16]:
    """The index's own memory, [P, D]; it must not grow meanwhile."""
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


def blocks(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
