"""Thresholds for the decision, measured on animals whose identity is known or guessed.

Used on the device (the gallery's own animals) and by the exporter (pseudo-labels), on visits that
edge/identity/trials.py puts to the gallery. Whether the measured rates keep what a user asked for
is said by edge/identity/promise.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from edge.decide import Apart, Group, Statistic, Thresholds
from edge.identity import probability, rates
from edge.identity.probability import Curve
from edge.identity.rates import Rate
from edge.identity.trials import Reference, Table, Trials, only, run_trials, tabulate

MIN_INDIVIDUALS = 10
# Visits of a group in each part, for thresholds of its own: the rate kept at a threshold from N
# visits varies by sqrt(r (1 - r) / N), which is 3 points at the default 10 % of 100 visits. With
# fewer the group's own threshold errs as much as the common one does where groups differ.
MIN_APART = 100
_GROUPS: tuple[tuple[Group, str, int], ...] = (  # light first: it changes similarities most
    ("infrared", "light", 1),
    ("day", "light", -1),
    ("left flank", "side", -1),
    ("right flank", "side", 1),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The error rates a user can live with; both in (0, 1)."""

    wrong_names: float  # of strangers' visits, and of known animals': given another's name
    ghosts: float  # of known animals' visits: called new


DEFAULT = Wanted(wrong_names=0.10, ghosts=0.05)


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
    """By votes: at the same share left to a person they name fewer wrongly than similarities."""
    return measure(run_trials(table, "vote"), "vote", source, wanted)


def fit_statistic(
    reference: Reference, statistic: Statistic, source: str, wanted: Wanted = DEFAULT
) -> Thresholds:
    trials = run_trials(tabulate(reference, with_votes=statistic == "vote"), statistic)
    return measure(trials, statistic, source, wanted).thresholds


def measure(trials: Trials, statistic: Statistic, source: str, wanted: Wanted) -> Calibration:
    """The thresholds at the wanted rates, and the rates that these trials have at them."""
    groups = [one for one, _, _ in _GROUPS if _suffices(of_group(trials, one), wanted)]
    placed = place(trials, statistic, source, wanted, groups)
    apart = (replace(one, curve=_curve(of_group(trials, one.group))) for one in placed.apart)
    return rates_at(trials, replace(placed, curve=_curve(trials), apart=tuple(apart)))


def place(
    trials: Trials, statistic: Statistic, source: str, wanted: Wanted, groups: Sequence[Group]
) -> Thresholds:
    """Thresholds at the wanted rates, those of these groups by themselves; no rates or curves."""
    match, new = _limits(trials, wanted)
    apart = []
    for group in groups:
        own = of_group(trials, group)
        if len(own.stranger_S) and len(own.known_K):
            own_match, own_new = _limits(own, wanted)
            apart.append(Apart(group=group, match=own_match, new=own_new, curve=None))
    return Thresholds(
        statistic=statistic,
        match=match,
        new=new,
        source=source,
        wrong_name_rate=None,
        false_new_rate=None,
        named_rate=None,
        misnamed_rate=None,
        apart=tuple(apart),
    )


def of_group(trials: Trials, group: Group) -> Trials:
    """The trials of visits of one group."""
    _, kind, sign = next(one for one in _GROUPS if one[0] == group)
    light = kind == "light"
    return only(
        trials,
        (trials.light_K if light else trials.side_K) == sign,
        (trials.light_S if light else trials.side_S) == sign,
    )


def visits_for_apart(wanted: Wanted) -> int:
    """So many visits of a group it takes, as known and as strangers, for thresholds of its own."""
    rates_wanted = (wanted.wrong_names, wanted.ghosts)
    return max(MIN_APART, *(groups_needed(one) for one in rates_wanted))


def _suffices(trials: Trials, wanted: Wanted) -> bool:
    num_visits = min(len(trials.known_K), len(trials.stranger_S))
    enough_animals = len(np.unique(trials.own_K)) >= MIN_INDIVIDUALS
    return num_visits >= visits_for_apart(wanted) and enough_animals


def _limits(trials: Trials, wanted: Wanted) -> tuple[float, float]:
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


def rates_at(trials: Trials, thresholds: Thresholds) -> Calibration:
    """What these trials do at given thresholds, each at those of its group."""
    match_K, new_K = levels(thresholds, trials.light_K, trials.side_K)
    match_S, new_S = levels(thresholds, trials.light_S, trials.side_S)
    named_K, named_S = trials.known_K >= match_K, trials.stranger_S >= match_S
    new_of_K, new_of_S = trials.known_K < new_K, trials.stranger_S < new_S
    strangers_named = rates.measure(named_S, trials.own_S, trials.taken_for_S)
    assert strangers_named is not None
    misnamed = rates.measure(named_K & ~trials.right_K, trials.own_K, trials.taken_for_K)
    called_new = rates.measure(new_of_K, trials.own_K)
    named = rates.measure(named_K & trials.right_K, trials.own_K)
    left_N = ~np.concatenate([named_K | new_of_K, named_S | new_of_S])
    reviewed = rates.measure(left_N, np.concatenate([trials.own_K, trials.own_S]))
    assert reviewed is not None
    return Calibration(
        thresholds=replace(
            thresholds,
            wrong_name_rate=strangers_named.share,
            false_new_rate=called_new.share if called_new else None,
            named_rate=named.share if named else None,
            misnamed_rate=misnamed.share if misnamed else None,
        ),
        trials=trials,
        strangers_named=strangers_named,
        known_misnamed=misnamed,
        known_called_new=called_new,
        known_named=named,
        reviewed=reviewed,
    )


def levels(
    thresholds: Thresholds, light_N: NDArray[np.int64], side_N: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(match threshold, new threshold) of each visit, by its group."""
    of_kind = {kind: thresholds.of_visit(*kind) for kind in product((-1, 0, 1), (-1, 0, 1))}
    kinds = list(zip(light_N.tolist(), side_N.tolist(), strict=True))
    match_N = np.array([of_kind[one].match for one in kinds], np.float64)
    return match_N, np.array([of_kind[one].new for one in kinds], np.float64)


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
