"""Thresholds for the decision, measured on animals whose identity is known or guessed.

Used on the device (the gallery's own animals) and by the exporter (pseudo-labels). Each group
(one event of one animal) plays two parts: as itself, matched against its animal's other groups,
and as a stranger, matched with its whole animal left out of the gallery. Whether the measured
rates keep what a user asked for is said by edge/identity/promise.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from edge.decide import NUM_RIVALS, Statistic, Thresholds
from edge.identity import probability, rates
from edge.identity.probability import Curve
from edge.identity.rates import Rate

STATISTICS: tuple[Statistic, ...] = ("similarity", "lead")
MIN_INDIVIDUALS = 10
_MAX_COMPARISONS = 100_000_000  # crops against exemplars; a sample of the groups beyond
_MIN_GROUPS = 200  # in that sample
_MAX_CROPS = 8  # of a group that are compared
_BLOCK = 64  # groups that are compared at once
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The error rates a user can live with; both in (0, 1)."""

    wrong_names: float  # of strangers' visits, and of known animals': given another's name
    ghosts: float  # of known animals' visits: called new


DEFAULT = Wanted(wrong_names=0.10, ghosts=0.05)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Embeddings of known animals: one row an exemplar."""

    emb_MD: NDArray[np.float32]
    individual_M: NDArray[np.int64]  # 0 .. number of individuals - 1
    group_M: NDArray[np.int64]  # the event an exemplar comes from; unique over individuals
    side_M: NDArray[np.int64] | None = None  # -1 left, 1 right, 0 unknown; None: all unknown


@dataclass(frozen=True, kw_only=True)
class Table:
    """Similarity of G groups to I individuals: mean over frames of the best exemplar.

    A group's own exemplars are left out; -inf where nothing is left to compare.
    """

    mean_GI: NDArray[np.float32]
    own_G: NDArray[np.int64]  # column of the group's own individual
    side_G: NDArray[np.int64]
    individual_I: NDArray[np.int64]  # as in the reference


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The statistic of each group as a known animal (K) and as a stranger (S)."""

    known_K: NDArray[np.float64]  # only groups whose animal has another group
    right_K: NDArray[np.bool_]  # whether the best individual is the right one
    own_K: NDArray[np.int64]  # the individual, as in the reference
    taken_for_K: NDArray[np.int64]  # the best individual
    side_K: NDArray[np.int64]
    stranger_S: NDArray[np.float64]
    own_S: NDArray[np.int64]
    taken_for_S: NDArray[np.int64]
    side_S: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Thresholds of one statistic, and how often the reference animals err at them."""

    thresholds: Thresholds
    trials: Trials
    strangers_named: Rate
    known_misnamed: Rate | None  # None: no animal has two events
    known_called_new: Rate | None
    known_named: Rate | None  # rightly
    reviewed: Rate  # if every second visit is a stranger's


def fit(reference: Reference, source: str, wanted: Wanted = DEFAULT) -> Thresholds | None:
    """Thresholds at the wanted rates, or None with fewer than ten individuals."""
    if len(np.unique(reference.individual_M)) < MIN_INDIVIDUALS:
        return None
    return calibrate(tabulate(reference), source, wanted).thresholds


def calibrate(table: Table, source: str, wanted: Wanted) -> Calibration:
    """Of similarity and lead, the one that names more known groups rightly at the same rates:
    which one that is depends on the encoder."""
    fits = [
        measure(run_trials(table, statistic), statistic, source, wanted) for statistic in STATISTICS
    ]
    return max(fits, key=lambda one: one.known_named.share if one.known_named else 0.0)


def fit_statistic(
    reference: Reference, statistic: Statistic, source: str, wanted: Wanted = DEFAULT
) -> Thresholds:
    trials = run_trials(tabulate(reference), statistic)
    return measure(trials, statistic, source, wanted).thresholds


def measure(trials: Trials, statistic: Statistic, source: str, wanted: Wanted) -> Calibration:
    """The thresholds at the wanted rates, and the rates that these trials have at them."""
    match, new = limits(trials, wanted)
    measured = rates_at(trials, statistic, source, match, new)
    return replace(measured, thresholds=replace(measured.thresholds, curve=_curve(trials)))


def limits(trials: Trials, wanted: Wanted) -> tuple[float, float]:
    """(match threshold, new threshold) at the wanted rates."""
    wrong_K = np.where(trials.right_K, -np.inf, trials.known_K)
    match = max(
        _above_all_but(trials.stranger_S, wanted.wrong_names),
        _above_all_but(wrong_K, wanted.wrong_names) if len(wrong_K) else -np.inf,
    )
    # With one event an animal nothing tells how low a known animal can fall: only what lies
    # below half of the strangers is called new then.
    low = (
        _below_all_but(trials.known_K, wanted.ghosts)
        if len(trials.known_K)
        else float(np.median(trials.stranger_S))
    )
    return match, min(match, low)


def rates_at(
    trials: Trials, statistic: Statistic, source: str, match: float, new: float
) -> Calibration:
    """What these trials do at given thresholds; without a curve to probabilities."""
    named_K = trials.known_K >= match
    strangers_named = rates.measure(trials.stranger_S >= match, trials.own_S, trials.taken_for_S)
    assert strangers_named is not None
    misnamed = rates.measure(named_K & ~trials.right_K, trials.own_K, trials.taken_for_K)
    called_new = rates.measure(trials.known_K < new, trials.own_K)
    named = rates.measure(named_K & trials.right_K, trials.own_K)
    value_N = np.concatenate([trials.known_K, trials.stranger_S])
    own_N = np.concatenate([trials.own_K, trials.own_S])
    reviewed = rates.measure((value_N < match) & (value_N >= new), own_N)
    assert reviewed is not None
    return Calibration(
        thresholds=Thresholds(
            statistic=statistic,
            match=match,
            new=new,
            source=source,
            wrong_name_rate=strangers_named.share,
            false_new_rate=called_new.share if called_new else None,
            named_rate=named.share if named else None,
            misnamed_rate=misnamed.share if misnamed else None,
            curve=None,
        ),
        trials=trials,
        strangers_named=strangers_named,
        known_misnamed=misnamed,
        known_called_new=called_new,
        known_named=named,
        reviewed=reviewed,
    )


def groups_needed(rate: float) -> int:
    """Fewest events from which a rate can be promised at all: one more event, the next one, errs
    with a probability of at most 1 / (events + 1) above the highest of them."""
    return ceil(1 / rate) - 1


def _above_all_but(value_N: NDArray[np.float64], rate: float) -> float:
    """The lowest threshold that a next value reaches with a probability of at most `rate`.

    The split-conformal quantile (Vovk et al. 2005): of N values at most rate * (N + 1) - 1 may
    reach it. With too few values the highest one stays below.
    """
    allowed = max(int(rate * (len(value_N) + 1) + 1e-9) - 1, 0)
    falling = np.sort(value_N)[::-1]
    if not allowed or not np.isfinite(falling[allowed]):
        return float(np.nextafter(falling[min(allowed, len(falling) - 1)], np.inf))
    return float(falling[allowed - 1] + falling[allowed]) / 2  # clear of rounding


def _below_all_but(value_N: NDArray[np.float64], rate: float) -> float:
    """The highest threshold that a next value stays below with a probability of at most `rate`."""
    return -_above_all_but(-value_N, rate)


def _curve(trials: Trials) -> Curve | None:
    """How likely the best name is right, where every second visit is a stranger's."""
    if not len(trials.known_K):
        return None
    return probability.fit(
        np.concatenate([trials.known_K, trials.stranger_S]),
        np.concatenate([trials.right_K, np.zeros(len(trials.stranger_S), bool)]),
        np.concatenate([trials.own_K, trials.own_S]),
    )


def tabulate(reference: Reference) -> Table:
    """Every group against every individual; of a large gallery a sample of the groups, by seed."""
    order = np.argsort(reference.individual_M, kind="stable")
    individual_M, group_M = reference.individual_M[order], reference.group_M[order]
    side_M = np.zeros(len(order), np.int64) if reference.side_M is None else reference.side_M[order]
    emb_MD = reference.emb_MD[order]
    individual_I, first_I = np.unique(individual_M, return_index=True)
    groups = _sampled_groups(group_M)
    mean_GI = np.empty((len(groups), len(individual_I)), np.float32)
    for start in range(0, len(groups), _BLOCK):
        block = groups[start : start + _BLOCK]
        rows = np.concatenate(block)
        similarity_NM = emb_MD[rows] @ emb_MD.T  # of many groups at once: a matrix product
        similarity_NM[group_M[rows, None] == group_M] = -np.inf
        if side_M[rows].any():  # the two sides of an animal are different pictures
            similarity_NM[side_M[rows, None] * side_M == -1] = -np.inf
        best_NI = np.maximum.reduceat(similarity_NM, first_I, axis=1)
        ends = np.cumsum([len(one) for one in block])
        for number, own_rows in enumerate(np.split(best_NI, ends[:-1])):
            mean_GI[start + number] = own_rows.mean(axis=0)
    own_M = np.searchsorted(individual_I, individual_M)
    first_G = np.array([rows[0] for rows in groups], np.int64)
    return Table(
        mean_GI=mean_GI, own_G=own_M[first_G], side_G=side_M[first_G], individual_I=individual_I
    )


def run_trials(
    table: Table, statistic: Statistic, column_J: NDArray[np.int64] | None = None
) -> Trials:
    """Every group in both parts; `column_J`: as if only these individuals were there."""
    column_J = np.arange(len(table.individual_I)) if column_J is None else np.sort(column_J)
    kept_G = np.isin(table.own_G, column_J)
    mean_GJ = table.mean_GI[np.ix_(kept_G, column_J)]
    own_G, side_G = np.searchsorted(column_J, table.own_G[kept_G]), table.side_G[kept_G]
    row_G, individual_J = np.arange(len(own_G)), table.individual_I[column_J]
    is_known_G = np.isfinite(mean_GJ[row_G, own_G])
    best_G, known_G = mean_GJ.argmax(axis=1), _statistic(mean_GJ, statistic)
    mean_GJ[row_G, own_G] = -np.inf
    taken_G, stranger_G = mean_GJ.argmax(axis=1), _statistic(mean_GJ, statistic)
    is_stranger_G = np.isfinite(stranger_G)
    return Trials(
        known_K=known_G[is_known_G],
        right_K=(best_G == own_G)[is_known_G],
        own_K=individual_J[own_G[is_known_G]],
        taken_for_K=individual_J[best_G[is_known_G]],
        side_K=side_G[is_known_G],
        stranger_S=stranger_G[is_stranger_G],
        own_S=individual_J[own_G[is_stranger_G]],
        taken_for_S=individual_J[taken_G[is_stranger_G]],
        side_S=side_G[is_stranger_G],
    )


def _sampled_groups(group_M: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of each group that is tried, at most eight a group."""
    rng = np.random.default_rng(_SEED)
    order = np.argsort(group_M, kind="stable")
    _, first_G = np.unique(group_M[order], return_index=True)
    groups = [rows[:_MAX_CROPS] for rows in np.split(order, first_G[1:])]
    limit = max(_MAX_COMPARISONS // max(len(group_M), 1), _MIN_GROUPS)
    if sum(len(rows) for rows in groups) <= limit:
        return groups
    kept: list[NDArray[np.int64]] = []
    for position in rng.permutation(len(groups)):
        if len(kept) >= _MIN_GROUPS and sum(map(len, kept)) >= limit:
            break
        kept.append(groups[position])
    return kept


def _statistic(mean_GJ: NDArray[np.float32], statistic: Statistic) -> NDArray[np.float64]:
    """As edge/decide.py does it for one ranking; -inf where a row has no individual."""
    top_GJ = -np.sort(-mean_GJ, axis=1)[:, : 1 + NUM_RIVALS].astype(np.float64)
    best_G, rival_GJ = top_GJ[:, 0], top_GJ[:, 1:]
    if statistic == "similarity":
        return np.asarray(best_G)
    is_there_GJ = np.isfinite(rival_GJ)
    sum_G = np.where(is_there_GJ, rival_GJ, 0.0).sum(axis=1)
    return np.asarray(best_G - sum_G / np.maximum(is_there_GJ.sum(axis=1), 1))
