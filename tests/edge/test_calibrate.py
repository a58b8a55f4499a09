"""Rates, intervals and refusals on drawn animals: strangers, two flanks, pictures by infrared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge import calibrate
from edge.calibrate import Wanted
from edge.decide import Ranking, Thresholds
from edge.decide import probability as probability_of
from edge.identity import plot, probability, promise, rates
from edge.identity import trials as tried
from edge.identity.trials import Reference, run_trials, tabulate

DIM = 48


def drawn(num_individuals, events_each=6, noise=1.0, seed=0, flanks=False):
    """Animals as directions; events differ by light, every third is infrared (one shift of all),
    frames by noise; with `flanks` the two sides of an animal share nothing."""
    rng = np.random.default_rng(seed)
    night = rng.standard_normal(DIM)
    rows, individuals, groups, sides = [], [], [], []
    for individual in range(num_individuals):
        coats = rng.standard_normal((2, DIM))
        for event in range(events_each):
            side = (-1, 1)[event % 2] if flanks else 0
            light = coats[event % 2 if flanks else 0] + noise * 0.5 * rng.standard_normal(DIM)
            light += 0.5 * night * (event % 3 == 2)
            for _ in range(2):
                rows.append(light + noise * 0.3 * rng.standard_normal(DIM))
                individuals.append(individual)
                groups.append(individual * events_each + event)
                sides.append(side)
    emb = np.array(rows, np.float32)
    return Reference(
        emb_MD=emb / np.linalg.norm(emb, axis=1, keepdims=True),
        individual_M=np.array(individuals),
        group_M=np.array(groups),
        side_M=np.array(sides),
    )


def slow_trials(reference):
    """(best as known, is right, best as stranger) of each event; one loop inside the other."""
    found = []
    for group in np.unique(reference.group_M):
        rows = np.flatnonzero(reference.group_M == group)
        own = reference.individual_M[rows[0]]
        means = {}
        for individual in np.unique(reference.individual_M):
            best = []
            for row in rows:
                fitting = [
                    float(reference.emb_MD[row] @ reference.emb_MD[other])
                    for other in range(len(reference.emb_MD))
                    if reference.individual_M[other] == individual
                    and reference.group_M[other] != group
                    and reference.side_M[other] * reference.side_M[row] != -1
                ]
                best.append(max(fitting, default=-np.inf))
            means[individual] = np.mean(best)
        first = max(means, key=means.get)
        others = max(value for one, value in means.items() if one != own)
        found.append((means[first], first == own, others))
    return found


@pytest.mark.parametrize("flanks", [False, True])
def test_trials_are_those_of_a_slow_comparison(flanks):
    reference = drawn(5, events_each=4, noise=2.0, flanks=flanks)
    trials = run_trials(tabulate(reference), "similarity")
    slow = slow_trials(reference)
    assert trials.known_K == pytest.approx([one[0] for one in slow], abs=1e-5)
    assert trials.right_K.tolist() == [one[1] for one in slow]
    assert trials.stranger_S == pytest.approx([one[2] for one in slow], abs=1e-5)


def test_trials_by_vote_have_the_votes_without_the_group_and_without_its_animal():
    table = tabulate(drawn(8, noise=2.0))
    trials = run_trials(table, "vote")
    assert trials.known_K == pytest.approx(table.vote_GI.max(axis=1))
    assert trials.right_K.tolist() == (table.vote_GI.argmax(axis=1) == table.own_G).tolist()
    others = table.stranger_vote_GI.copy()
    assert np.isneginf(others[np.arange(len(others)), table.own_G]).all()
    assert trials.stranger_S == pytest.approx(others.max(axis=1))
    assert trials.taken_for_S.tolist() == others.argmax(axis=1).tolist()


def test_part_of_a_table_is_the_table_of_that_part():
    reference = drawn(8, noise=2.0)
    kept = np.isin(reference.individual_M, [1, 4, 6])
    part = Reference(
        emb_MD=reference.emb_MD[kept],
        individual_M=reference.individual_M[kept],
        group_M=reference.group_M[kept],
        side_M=reference.side_M[kept],
    )
    of_part = run_trials(tabulate(part), "similarity")
    of_all = run_trials(tabulate(reference), "similarity", np.array([1, 4, 6]))
    for field in dataclasses.fields(of_part):
        assert np.array_equal(getattr(of_part, field.name), getattr(of_all, field.name))


def test_the_next_stranger_is_named_as_seldom_as_promised():
    rng = np.random.default_rng(3)
    named = []
    for _ in range(2000):
        values = rng.standard_normal(60)
        named.append(values[0] >= calibrate._above_all_but(values[1:], 0.05))
    assert np.mean(named) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert np.mean(named) >= 0.02


def test_rates_stated_on_half_of_the_animals_hold_on_the_other_half():
    """Drawn as in the field: strangers, two flanks, infrared."""
    inside = promised = 0
    for seed in range(5):
        reference = drawn(120, noise=1.2, seed=seed, flanks=True)
        first = reference.individual_M < 60
        own, other = (
            tabulate(
                Reference(
                    emb_MD=reference.emb_MD[kept],
                    individual_M=reference.individual_M[kept],
                    group_M=reference.group_M[kept],
                    side_M=reference.side_M[kept],
                )
            )
            for kept in (first, ~first)
        )
        wanted = Wanted(wrong_names=0.02, ghosts=0.02)
        stated = promise.measured(own, wanted)
        limits = stated.thresholds
        true = calibrate.rates_at(run_trials(other, limits.statistic), limits)
        promised += not promise.refusals(stated)
        inside += all(
            said.low <= is_so.share <= said.high
            for said, is_so in (
                (stated.strangers_named, true.strangers_named),
                (stated.known_misnamed, true.known_misnamed),
                (stated.known_called_new, true.known_called_new),
            )
        )
    assert promised >= 4, "an easy world must be promised"
    assert inside >= 4


def test_an_encoder_that_tells_nobody_apart_is_refused_in_a_sentence():
    reference = drawn(40, noise=12.0)
    wanted = Wanted(wrong_names=0.05, ghosts=0.05)
    assert promise.too_few(reference, wanted) is None
    measured = promise.measured(tabulate(reference), wanted)
    reasons = promise.refusals(measured)
    assert any("visits would be left to you" in one for one in reasons)
    assert "Nothing was changed" in promise.refusal(reasons, wanted, None)


@pytest.mark.parametrize(
    ("reference", "wanted", "said"),
    [
        (drawn(9), Wanted(wrong_names=0.1, ghosts=0.1), "needs 10 individuals, the gallery has 9"),
        (drawn(10, 2), Wanted(wrong_names=0.02, ghosts=0.1), "49 events are needed"),
        (drawn(12, 1), Wanted(wrong_names=0.1, ghosts=0.1), "seen twice or more: 9 events"),
    ],
)
def test_too_few_events_are_told_with_how_many_are_needed(reference, wanted, said):
    assert said in promise.too_few(reference, wanted)


def test_visits_of_few_animals_make_a_wider_interval():
    hits = np.zeros(200, bool)
    hits[:20] = True
    apart = rates.measure(hits, np.arange(200))
    together = rates.measure(hits, np.arange(200) // 20)  # all by one animal of ten
    assert apart.share == together.share == pytest.approx(0.1)
    assert together.width > 1.5 * apart.width
    assert together.low == 0.0
    taken_for_one = rates.measure(hits, np.arange(200), np.where(hits, 0, np.arange(200)))
    assert taken_for_one.width > 1.5 * apart.width


def test_no_error_seen_is_not_no_error():
    none = rates.measure(np.zeros(60, bool), np.arange(60) // 3)
    assert none.low == 0.0 and 0.03 < none.high < 0.3
    assert rates.measure(np.zeros(0, bool), np.zeros(0, int)) is None


def test_a_large_gallery_is_sampled_and_a_small_one_is_not(monkeypatch):
    reference = drawn(30)
    monkeypatch.setattr(tried, "_MAX_COMPARISONS", 100)
    monkeypatch.setattr(tried, "_MIN_GROUPS", 25)
    assert len(tabulate(reference).own_G) == 25
    monkeypatch.undo()
    assert len(tabulate(reference).own_G) == 180


def test_probabilities_rise_with_the_value_and_the_better_form_is_kept():
    rng = np.random.default_rng(0)
    value = rng.uniform(0, 1, 600)
    sure = 1 / (1 + np.exp(-12 * (value - 0.6)))
    right = rng.uniform(size=600) < sure
    curve = probability.fit(value, right, np.arange(600) // 6)
    assert curve.log_loss <= curve.other_log_loss
    told = np.array([curve.probability(one) for one in np.linspace(0, 1, 50)])
    assert (np.diff(told) >= 0).all()
    assert curve.probability(0.6) == pytest.approx(0.5, abs=0.12)
    step = probability.fit(value, value > 0.37, np.arange(600) // 6)
    assert step.form == "isotonic"
    ranking = Ranking(individual_ids=("A", "B"), similarities=(0.9, 0.2), num_frames=2)
    limits = Thresholds(
        statistic="similarity", match=0.8, new=0.3, source="gallery", wrong_name_rate=None,
        false_new_rate=None, named_rate=None, misnamed_rate=None, curve=curve,
    )  # fmt: skip
    assert probability_of(ranking, limits) == pytest.approx(curve.probability(0.9))
    assert ranking.margin == pytest.approx(0.7)


def test_lowering_the_threshold_where_two_animals_overlap_names_them():
    measured = calibrate.calibrate(tabulate(drawn(40, noise=3.0)), "gallery", Wanted(
        wrong_names=0.3, ghosts=0.05))  # fmt: skip
    strict = dataclasses.replace(measured.thresholds, match=measured.thresholds.match + 0.2)
    names = {number: f"cow {number}" for number in range(40)}
    assert "would newly get another's name, such as cow" in promise.overlap(measured, strict, names)
    assert promise.overlap(measured, measured.thresholds, names) is None


def test_the_paragraph_and_the_plot_say_what_was_measured():
    measured = promise.measured(tabulate(drawn(30, flanks=True, events_each=8)), calibrate.DEFAULT)
    told = promise.paragraph(measured, 30, calibrate.DEFAULT)
    assert "Measured on 30 animals" in told and "of the left flank" in told
    svg = plot.draw(measured)
    assert svg.startswith("<svg") and f"match {measured.thresholds.match:.3f}" in svg
