"""What a calibration promises in words, and when it must refuse to promise.

A rate is promised only if there are events enough to tell, its 95 % interval is at most ten
points wide and no more than half of the visits are left to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from edge import calibrate
from edge.calibrate import Calibration, Reference, Table, Wanted
from edge.decide import Thresholds
from edge.identity import rates, transfer
from edge.identity.rates import Rate
from edge.text import counted

MAX_WIDTH = 0.10  # of a 95 % interval
MAX_REVIEWED = 0.50  # of all visits
_RATES = (0.01, 0.02, 0.03, 0.05, 0.10)  # tried in the place of one that is refused
_SIDES = {-1: "left flank", 1: "right flank"}
_ENOUGH_APART = 60  # events of a flank, to tell its rates apart


def too_few(reference: Reference, wanted: Wanted) -> str | None:
    """Why this gallery cannot be calibrated at all, with how much more is needed."""
    individuals = np.unique(reference.individual_M)
    if len(individuals) < calibrate.MIN_INDIVIDUALS:
        return (
            f"calibrating needs {calibrate.MIN_INDIVIDUALS} individuals, the gallery has "
            f"{len(individuals)}: enrol {calibrate.MIN_INDIVIDUALS - len(individuals)} more"
        )
    pairs = np.unique(np.stack([reference.individual_M, reference.group_M]), axis=1)
    events_I = np.unique(pairs[0], return_counts=True)[1]
    strangers, again = int(events_I.sum()), int(events_I[events_I > 1].sum())
    for what, have, rate in (
        ("wrong names", strangers, wanted.wrong_names),
        ("wrong names of known animals", again, wanted.wrong_names),
        ("ghosts", again, wanted.ghosts),
    ):
        needed = calibrate.groups_needed(rate)
        if have < needed:
            return (
                f"{100 * rate:g} % {what} cannot be told from {counted(have, 'event')} of "
                f"animals seen {'once or more' if have is strangers else 'twice or more'}: "
                f"{needed} events are needed, so enrol {needed - have} more or ask for a milder "
                "rate"
            )
    return None


def refusals(calibration: Calibration) -> list[str]:
    """Why the rates at these thresholds cannot be promised; empty where they can."""
    found = [_too_vague(name, rate) for name, rate in _promised(calibration)]
    reviewed = calibration.reviewed
    if reviewed.share > MAX_REVIEWED:
        found.append(
            f"{100 * reviewed.share:.0f} of 100 visits would be left to you, and more than "
            f"{100 * MAX_REVIEWED:.0f} is no help"
        )
    return [one for one in found if one]


def _promised(calibration: Calibration) -> list[tuple[str, Rate | None]]:
    return [
        ("how often a stranger gets a known name", calibration.strangers_named),
        ("how often a known animal gets another's name", calibration.known_misnamed),
        ("how often a known animal is called new", calibration.known_called_new),
    ]


def _too_vague(name: str, rate: Rate | None) -> str | None:
    if rate is None:
        return f"{name} cannot be told, as no animal has two events"
    if rate.width <= MAX_WIDTH:
        return None
    return (
        f"{name} is only known to lie between {_points(rate)} %, from "
        f"{counted(rate.num_events, 'event')} of {counted(rate.num_individuals, 'animal')}; about "
        f"{rates.events_for(rate, MAX_WIDTH)} events are needed"
    )


def measured(table: Table, wanted: Wanted) -> Calibration:
    """The gallery's calibration, its rates as they would be on other animals."""
    return transfer.widen(calibrate.calibrate(table, "gallery", wanted), table, wanted)


def instead_of(reference: Reference, table: Table) -> Wanted | None:
    """The strictest rates that can be promised on this gallery; None: none can."""
    for wrong_names, ghosts in product(_RATES, _RATES):
        other = Wanted(wrong_names=wrong_names, ghosts=ghosts)
        if too_few(reference, other) is None and not refusals(measured(table, other)):
            return other
    return None


def overlap(
    calibration: Calibration, in_force: Thresholds | None, names: Mapping[int, str]
) -> str | None:
    """Why the match threshold must not fall below the one in force, where it would; else None.

    Two enrolled animals overlap where visits of the one would newly be named as the other.
    """
    asked, trials = calibration.thresholds, calibration.trials
    if in_force is None or in_force.statistic != asked.statistic or asked.match >= in_force.match:
        return None
    between = (trials.known_K >= asked.match) & (trials.known_K < in_force.match)
    wrong = np.flatnonzero(between & ~trials.right_K)
    if not len(wrong):
        return None
    own, other = int(trials.own_K[wrong[0]]), int(trials.taken_for_K[wrong[0]])
    return (
        f"the threshold would fall from {in_force.match:.3f} to {asked.match:.3f}, and "
        f"{counted(len(wrong), 'visit')} of enrolled animals would newly get another's name, such "
        f"as {names[own]} that of {names[other]}: look at them with `edge-gallery doctor` first"
    )


def paragraph(calibration: Calibration, num_individuals: int) -> str:
    """What to expect, as one would tell a biologist."""
    thresholds = calibration.thresholds
    sentences = [
        f"Measured on {counted(num_individuals, 'animal')}, leaving out one visit at a time: of "
        f"100 visits of strangers {_of(calibration.strangers_named)} get a known name."
    ]
    named, misnamed = calibration.known_named, calibration.known_misnamed
    if named and misnamed and calibration.known_called_new:
        sentences.append(
            f"Of 100 visits of known animals {_of(named)} get the right name, {_of(misnamed)} "
            f"another's, and {_of(calibration.known_called_new)} are called new (ghosts)."
        )
    sentences.append(
        f"If every second visit is a stranger's, {_of(calibration.reviewed)} of 100 visits are "
        f"left to you. A visit is named at a {thresholds.statistic} of {thresholds.match:.3f} or "
        f"more and new below {thresholds.new:.3f}."
    )
    if thresholds.curve:
        curve = thresholds.curve
        sentences.append(
            f"Probabilities are {curve.form}, which had the lower log loss on animals left out "
            f"({curve.log_loss:.3f} against {curve.other_log_loss:.3f})."
        )
    return " ".join(sentences + _by_side(calibration))


def _by_side(calibration: Calibration) -> list[str]:
    """The rates of each flank, where it has events enough."""
    found = []
    for side, name in _SIDES.items():
        apart = only_side(calibration, side)
        if apart is not None:
            found.append(
                f"On the {name} alone {_of(apart.strangers_named)} of 100 strangers get a name"
                + (
                    f" and {_of(apart.known_called_new)} of 100 known animals are called new."
                    if apart.known_called_new
                    else "."
                )
            )
    return found


def only_side(calibration: Calibration, side: int) -> Calibration | None:
    """The same thresholds on the events of one flank; None where these are too few."""
    trials, thresholds = calibration.trials, calibration.thresholds
    of_known, of_stranger = trials.side_K == side, trials.side_S == side
    if min(of_known.sum(), of_stranger.sum()) < _ENOUGH_APART:
        return None
    apart = replace(
        trials,
        known_K=trials.known_K[of_known],
        right_K=trials.right_K[of_known],
        own_K=trials.own_K[of_known],
        taken_for_K=trials.taken_for_K[of_known],
        side_K=trials.side_K[of_known],
        stranger_S=trials.stranger_S[of_stranger],
        own_S=trials.own_S[of_stranger],
        taken_for_S=trials.taken_for_S[of_stranger],
        side_S=trials.side_S[of_stranger],
    )
    return calibrate.rates_at(
        apart, thresholds.statistic, thresholds.source, thresholds.match, thresholds.new
    )


def refusal(reasons: Sequence[str], wanted: Wanted, instead: Wanted | None) -> str:
    advice = (
        f"ask for --wrong-names {instead.wrong_names:g} --ghosts {instead.ghosts:g}, which this "
        "gallery can keep"
        if instead
        else "no rates can be promised on this gallery: enrol more visits, or train a better model"
    )
    return (
        f"{100 * wanted.wrong_names:g} % wrong names and {100 * wanted.ghosts:g} % ghosts cannot "
        f"be promised: {'; '.join(reasons)}. Nothing was changed; {advice}"
    )


def _of(rate: Rate) -> str:
    return f"{100 * rate.share:.0f} ({_points(rate)})"


def _points(rate: Rate) -> str:
    return f"{100 * rate.low:.0f} to {100 * rate.high:.0f}"
