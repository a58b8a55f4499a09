"""Retrieval figures from similarities: mean average precision and rank-k."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Means over the queries whose identity is in the gallery, in [0, 1]."""

    mean_ap: float
    rank1: float
    rank5: float
    rank10: float
    num_queries: int  # counted
    num_skipped: int  # their identity is not in the gallery


def retrieval(
    similarity_QG: NDArray[np.float32],
    query_identity_Q: NDArray[np.str_],
    gallery_identity_G: NDArray[np.str_],
) -> Retrieval:
    """Average precision is the mean of the precision at each hit; every gallery row counts.

    A similarity of -inf takes a gallery row out (a picture is not matched with itself).
    """
    precisions: list[float] = []
    first_hits: list[int] = []
    for similarity_G, identity in zip(similarity_QG, query_identity_Q, strict=True):
        candidates = np.flatnonzero(np.isfinite(similarity_G))
        order = candidates[np.argsort(-similarity_G[candidates], kind="stable")]
        hits = np.flatnonzero(gallery_identity_G[order] == identity)
        if not len(hits):
            continue
        precisions.append(float(np.mean(np.arange(1, len(hits) + 1) / (hits + 1))))
        first_hits.append(int(hits[0]))
    first = np.array(first_hits)
    return Retrieval(
        mean_ap=float(np.mean(precisions)) if precisions else 0.0,
        rank1=_share(first < 1),
        rank5=_share(first < 5),
        rank10=_share(first < 10),
        num_queries=len(precisions),
        num_skipped=len(query_identity_Q) - len(precisions),
    )


def _share(hit_Q: NDArray[np.bool_]) -> float:
    return float(hit_Q.mean()) if len(hit_Q) else 0.0
