"""What a calibration promises in words, and when it must refuse to promise.

A rate is promised only if there are events enough to tell, its 95 % interval is at most ten
points wide and no more than half of the visits are left to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from edge import calibrate
from edge.calibrate import Calibration, Wanted
from edge.decide import Group, Thresholds
from edge.identity import rates, transfer
from edge.identity.rates import Rate
from edge.identity.trials import Reference, Table
from edge.text import counted

MAX_WIDTH = 0.10  # of a 95 % interval
MAX_REVIEWED = 0.50  # of all visits
_RATES = (0.01, 0.02, 0.03, 0.05, 0.10)  # tried in the place of one that is refused
_GROUPS: dict[Group, str] = {
    "infrared": "by infrared light",
    "day": "by daylight",
    "left flank": "of the left flank",
    "right flank": "of the right flank",
}
_ENOUGH_TO_TELL = 60  # visits of a group, to tell its rates apart


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
    if in_force is None or in_force.statistic != asked.statistic:
        return None
    asked_K, _ = calibrate.levels(asked, trials.light_K, trials.side_K)
    force_K, _ = calibrate.levels(in_force, trials.light_K, trials.side_K)
    between = (trials.known_K >= asked_K) & (trials.known_K < force_K)
    wrong = np.flatnonzero(between & ~trials.right_K)
    if not len(wrong):
        return None
    first = int(wrong[0])
    own, other = int(trials.own_K[first]), int(trials.taken_for_K[first])
    return (
        f"the threshold would fall from {force_K[first]:.3f} to {asked_K[first]:.3f}, and "
        f"{counted(len(wrong), 'visit')} of enrolled animals would newly get another's name, such "
        f"as {names[own]} that of {names[other]}: look at them with `edge-gallery doctor` first"
    )


def paragraph(calibration: Calibration, num_individuals: int, wanted: Wanted) -> str:
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
    return " ".join([*sentences, *_by_group(calibration, wanted)])


def _by_group(calibration: Calibration, wanted: Wanted) -> list[str]:
    """What is known of each group, and whether it has thresholds of its own."""
    found = []
    own = {one.group: one for one in calibration.thresholds.apart}
    for group, words in _GROUPS.items():
        trials = calibrate.of_group(calibration.trials, group)
        num_visits = min(len(trials.known_K), len(trials.stranger_S))
        if not num_visits:
            continue
        if group in own:
            found.append(
                f"Visits {words} have thresholds of their own: {own[group].match:.3f} and "
                f"{own[group].new:.3f}, from {counted(num_visits, 'visit')}."
            )
        else:
            found.append(
                f"Visits {words} go by the common thresholds: {counted(num_visits, 'visit')} "
                f"can be tried, {calibrate.visits_for_apart(wanted)} of "
                f"{calibrate.MIN_INDIVIDUALS} animals are needed for thresholds of their own."
            )
        if num_visits >= _ENOUGH_TO_TELL:
            found.append(_rates_of(calibrate.rates_at(trials, calibration.thresholds)))
    return found


def _rates_of(group: Calibration) -> str:
    assert group.known_called_new is not None
    return (
        f"Of 100 of these {_of(group.strangers_named)} strangers get a name, and "
        f"{_of(group.known_called_new)} known animals are called new."
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
