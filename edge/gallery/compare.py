"""How well an encoder finds a gallery's own animals again: each picture against other visits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.identity.trials import Reference

TOLERATED_LOSS = 0.005  # of mAP; as the exporter's, below what one picture more or less changes
_CHUNK = 256  # rows of similarities held at once


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Both in [0, 1]; pictures of one visit are not compared with each other."""

    rank1: float
    mAP: float
    num_queries: int  # pictures whose animal has another visit


def leave_one_visit_out(reference: Reference) -> Figures | None:
    """None where no animal has two visits, so that nothing can be asked."""
    precisions: list[float] = []
    firsts: list[bool] = []
    for start in range(0, len(reference.emb_MD), _CHUNK):
        similarity_NM = reference.emb_MD[start : start + _CHUNK] @ reference.emb_MD.T
        for offset, similarity_M in enumerate(similarity_NM):
            query = start + offset
            others = np.flatnonzero(reference.group_M != reference.group_M[query])
            order = others[np.argsort(-similarity_M[others], kind="stable")]
            hits = reference.individual_M[order] == reference.individual_M[query]
            if hits.any():
                precisions.append(_average_precision(hits))
                firsts.append(bool(hits[0]))
    if not precisions:
        return None
    return Figures(
        rank1=float(np.mean(firsts)), mAP=float(np.mean(precisions)), num_queries=len(firsts)
    )


def _average_precision(hits: NDArray[np.bool_]) -> float:
    ranks = np.flatnonzero(hits) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))
