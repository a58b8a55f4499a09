"""Thresholds for the decision, measured on animals whose identity is known or guessed.

Used on the device (the gallery's own animals) and by the exporter (pseudo-labels). Each group
(one event of one animal) plays two parts: as itself, matched against its animal's other groups,
and as a stranger, matched with its whole animal left out of the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.decide import NUM_RIVALS, Statistic, Thresholds

STATISTICS: tuple[Statistic, ...] = ("similarity", "lead")
MIN_INDIVIDUALS = 10
STRANGERS_REFUSED = 0.90  # share of strangers' groups that must stay below the match threshold
KNOWN_CALLED_NEW = 0.05  # share of known groups that may fall below the new threshold


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Embeddings of known animals: one row an exemplar."""

    emb_MD: NDArray[np.float32]
    individual_M: NDArray[np.int64]  # 0 .. number of individuals - 1
    group_M: NDArray[np.int64]  # the event an exemplar comes from; unique over individuals


@dataclass(frozen=True, kw_only=True)
class _Trials:
    """The statistic of each group as a known animal and as a stranger."""

    known: NDArray[np.float64]  # only groups whose animal has another group
    named_right: NDArray[np.bool_]  # of those: whether the best individual is the right one
    stranger: NDArray[np.float64]


def fit(reference: Reference, source: str) -> Thresholds | None:
    """Thresholds at the rates above, or None with fewer than ten individuals.

    Of similarity and lead, the statistic is taken that names more known groups rightly at the
    same share of strangers refused: which one that is depends on the encoder.
    """
    if len(np.unique(reference.individual_M)) < MIN_INDIVIDUALS:
        return None
    fits = [fit_statistic(reference, statistic, source) for statistic in STATISTICS]
    return max(fits, key=lambda one: one.named_rate).thresholds


@dataclass(frozen=True, kw_only=True)
class StatisticFit:
    thresholds: Thresholds
    named_rate: float  # known groups rightly named at the match threshold


def fit_statistic(reference: Reference, statistic: Statistic, source: str) -> StatisticFit:
    trials = _run_trials(reference, statistic)
    match = float(np.quantile(trials.stranger, STRANGERS_REFUSED))
    rightly = trials.known[trials.named_right]
    # With one event an animal nothing tells how low a known animal can fall: only what lies
    # below half of the strangers is called new then.
    low = np.quantile(rightly, KNOWN_CALLED_NEW) if len(rightly) else np.median(trials.stranger)
    new = min(match, float(low))
    thresholds = Thresholds(
        statistic=statistic,
        match=match,
        new=new,
        source=source,
        wrong_name_rate=float(np.mean(trials.stranger >= match)),
        false_new_rate=float(np.mean(trials.known < new)) if len(trials.known) else None,
    )
    named = trials.named_right & (trials.known >= match)
    return StatisticFit(
        thresholds=thresholds, named_rate=float(named.sum() / max(len(trials.known), 1))
    )


def _run_trials(reference: Reference, statistic: Statistic) -> _Trials:
    similarity_MM = reference.emb_MD @ reference.emb_MD.T
    num_individuals = int(reference.individual_M.max()) + 1
    known: list[float] = []
    named_right: list[bool] = []
    stranger: list[float] = []
    for group in np.unique(reference.group_M):
        rows = np.flatnonzero(reference.group_M == group)
        own = int(reference.individual_M[rows[0]])
        others = reference.group_M != group
        mean_I = _individual_means(
            similarity_MM[rows], reference.individual_M, others, num_individuals
        )
        if np.isfinite(mean_I[own]):
            known.append(_statistic(mean_I, statistic))
            named_right.append(int(np.argmax(mean_I)) == own)
        mean_I[own] = -np.inf
        stranger.append(_statistic(mean_I, statistic))
    return _Trials(
        known=np.array(known), named_right=np.array(named_right, bool), stranger=np.array(stranger)
    )


def _individual_means(
    similarity_NM: NDArray[np.float32],
    individual_M: NDArray[np.int64],
    allowed_M: NDArray[np.bool_],
    num_individuals: int,
) -> NDArray[np.float64]:
    """[I]: mean over frames of the best allowed exemplar; -inf for an animal without any."""
    best_NI = np.full((len(similarity_NM), num_individuals), -np.inf)
    columns = np.flatnonzero(allowed_M)
    for row, best in zip(similarity_NM, best_NI, strict=True):
        np.maximum.at(best, individual_M[columns], row[columns])
    return np.asarray(best_NI.mean(axis=0))


def _statistic(mean_I: NDArray[np.float64], statistic: Statistic) -> float:
    top = np.sort(mean_I[np.isfinite(mean_I)])[::-1][: 1 + NUM_RIVALS]
    if statistic == "similarity" or len(top) == 1:
        return float(top[0])
    return float(top[0] - top[1:].mean())
