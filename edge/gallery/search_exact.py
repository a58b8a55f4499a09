"""Similarities compared exactly: each pair of a crop and an exemplar summed by itself, in float64.

A float32 product's last bits depend on what is multiplied beside it. So it only tells which
exemplars may be the best; these few are compared anew.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.gallery.search_list import blocks

_PAIRS_AT_ONCE = 64
# Rounding of float32, doubled; times the width it bounds the error of a sum in any order.
_EPSILON = 2.0**-23


def best_similarity(
    emb_ND: NDArray[np.float32],
    side_N: NDArray[np.int64],
    unit_MD: NDArray[np.float32],
    side_M: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Of each crop, exactly, to the best of these exemplars (unit length); -inf where none fits."""
    nearly_NM = emb_ND @ unit_MD.T
    nearly_NM[side_N[:, None] * side_M == -1] = -np.inf
    tolerance_N1 = np.array([[tolerance_of(emb_D)] for emb_D in emb_ND])
    limit_N1 = nearly_NM.max(axis=1, keepdims=True) - tolerance_N1
    crop_P, row_P = np.nonzero((nearly_NM >= limit_N1) & np.isfinite(nearly_NM))
    best_N = np.full(len(emb_ND), -np.inf, np.float32)
    np.maximum.at(best_N, crop_P, dots(emb_ND, crop_P, unit_MD, row_P))
    return best_N


def tolerance_of(emb_D: NDArray[np.float32]) -> float:
    """More than two similarities may lie the wrong way round by, each off by a float32 sum."""
    return float(2.0 * _EPSILON * len(emb_D) * np.linalg.norm(emb_D))


def is_close(
    nearly_NB: NDArray[np.float32], place_B: NDArray[np.int64], tolerance_N: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which exemplars may be the best of their individual for a crop; an individual's are together
    in `place_B`."""
    is_first_B = np.ones(len(place_B), bool)
    np.not_equal(place_B[1:], place_B[:-1], out=is_first_B[1:])
    best_NS = np.maximum.reduceat(nearly_NB, np.flatnonzero(is_first_B), axis=1)
    limit_NB = (best_NS - tolerance_N[:, None])[:, np.cumsum(is_first_B) - 1]
    return np.asarray((nearly_NB >= limit_NB) & (nearly_NB > -np.inf))


def unit(emb_BD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row by its length; the same bits whichever rows are beside it."""
    return np.asarray(emb_BD / np.linalg.norm(emb_BD, axis=1, keepdims=True))


def dots(
    emb_ND: NDArray[np.float32],
    crop_P: NDArray[np.intp],
    unit_BD: NDArray[np.float32],
    row_P: NDArray[np.intp],
) -> NDArray[np.float32]:
    """The products of these pairs, each summed by itself in float64."""
    exactly_P = np.empty(len(crop_P), np.float32)
    for block in blocks(len(crop_P), _PAIRS_AT_ONCE):
        product_BD = emb_ND[crop_P[block]].astype(np.float64) * unit_BD[row_P[block]]
        exactly_P[block] = product_BD.sum(axis=1)
    return exactly_P
