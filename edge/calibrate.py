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
    return max(fits, key=lambda one: one.named_rate or 0.0)


def fit_statistic(reference: Reference, statistic: Statistic, source: str) -> Thresholds:
    """The thresholds of one statistic, and how often the reference animals err at them."""
    trials = _run_trials(reference, statistic)
    match = float(np.quantile(trials.stranger, STRANGERS_REFUSED))
    rightly = trials.known[trials.named_right]
    # With one event an animal nothing tells how low a known animal can fall: only what lies
    # below half of the strangers is called new then.
    low = np.quantile(rightly, KNOWN_CALLED_NEW) if len(rightly) else np.median(trials.stranger)
    new = min(match, float(low))
    named = trials.known >= match
    return Thresholds(
        statistic=statistic,
        match=match,
        new=new,
        source=source,
        wrong_name_rate=_share(trials.stranger >= match),
        false_new_rate=_share(trials.known < new),
        named_rate=_share(named & trials.named_right),
        misnamed_rate=_share(named & ~trials.named_right),
    )


def _share(is_so: NDArray[np.bool_]) -> float | None:
    return float(is_so.mean()) if len(is_so) else None


def _run_trials(reference: Reference, statistic: Statistic) -> _Trials:
    order = np.argsort(reference.individual_M, kind="stable")
    individual_M, group_M = reference.individual_M[order], reference.group_M[order]
    emb_MD = reference.emb_MD[order]
    individuals, first_I = np.unique(individual_M, return_index=True)
    known: list[float] = []
    named_right: list[bool] = []
    stranger: list[float] = []
    for group in np.unique(group_M):
        rows = np.flatnonzero(group_M == group)
        similarity_NM = emb_MD[rows] @ emb_MD.T
        similarity_NM[:, rows] = -np.inf
        # Mean over frames of each animal's best exemplar; -inf for one that has no other.
        mean_I = np.maximum.reduceat(similarity_NM, first_I, axis=1).mean(axis=0)
        own = int(np.searchsorted(individuals, individual_M[rows[0]]))
        if np.isfinite(mean_I[own]):
            known.append(_statistic(mean_I, statistic))
            named_right.append(int(np.argmax(mean_I)) == own)
        mean_I[own] = -np.inf
        stranger.append(_statistic(mean_I, statistic))
    return _Trials(
        known=np.array(known), named_right=np.array(named_right, bool), stranger=np.array(stranger)
    )


def _statistic(mean_I: NDArray[np.float32], statistic: Statistic) -> float:
    top = np.sort(mean_I[np.isfinite(mean_I)])[::-1][: 1 + NUM_RIVALS]
    if statistic == "similarity" or len(top) == 1:
        return float(top[0])
    return float(top[0] - top[1:].mean())
