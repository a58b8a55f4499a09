"""Retrieval figures from similarities: mean average precision, rank-k, mINP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Means over the queries whose identity is in the gallery, in [0, 1]."""

    mean_ap: float
    mean_inp: float  # mean inverse negative penalty
    rank1: float
    rank5: float
    rank10: float
    rank20: float
    num_queries: int  # counted
    num_skipped: int  # their identity is not in the gallery


def retrieval(
    similarity_QG: NDArray[np.float32],
    query_identity_Q: NDArray[np.str_],
    gallery_identity_G: NDArray[np.str_],
) -> Retrieval:
    """Average precision is the mean of the precision at each hit; every gallery row counts.

    The inverse negative penalty of a query is its number of hits over the rank of the last one:
    what share of a list is right that must be read to find every picture of the animal (Ye et
    al. 2021, Deep Learning for Person Re-identification: A Survey and Outlook, section 4.1).
    A similarity of -inf takes a gallery row out (a picture is not matched with itself).
    """
    precisions: list[float] = []
    inverse_penalties: list[float] = []
    first_hits: list[int] = []
    for similarity_G, identity in zip(similarity_QG, query_identity_Q, strict=True):
        candidates = np.flatnonzero(np.isfinite(similarity_G))
        order = candidates[np.argsort(-similarity_G[candidates], kind="stable")]
        hits = np.flatnonzero(gallery_identity_G[order] == identity)
        if not len(hits):
            continue
        precisions.append(float(np.mean(np.arange(1, len(hits) + 1) / (hits + 1))))
        inverse_penalties.append(len(hits) / float(hits[-1] + 1))
        first_hits.append(int(hits[0]))
    first = np.array(first_hits)
    return Retrieval(
        mean_ap=_mean(np.array(precisions)),
        mean_inp=_mean(np.array(inverse_penalties)),
        rank1=_mean(first < 1),
        rank5=_mean(first < 5),
        rank10=_mean(first < 10),
        rank20=_mean(first < 20),
        num_queries=len(precisions),
        num_skipped=len(query_identity_Q) - len(precisions),
    )


def _mean(value_Q: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(value_Q.mean()) if len(value_Q) else 0.0
