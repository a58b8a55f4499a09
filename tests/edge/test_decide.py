from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.calibrate import fit
from edge.decide import Apart, Ranking, Thresholds, decide, prevailing, rank
from edge.identity.trials import Reference, tabulate


def thresholds(statistic="similarity", match=0.8, new=0.4):
    return Thresholds(
        statistic=statistic, match=match, new=new, source="gallery",
        wrong_name_rate=None, false_new_rate=None, named_rate=None, misnamed_rate=None,
    )  # fmt: skip


def ranking(*similarities, num_frames=2):
    ids = tuple("ABCDEFGH"[: len(similarities)])
    return Ranking(individual_ids=ids, similarities=similarities, num_frames=num_frames)


@pytest.mark.parametrize(
    ("given", "frames", "decision"),
    [
        ((0.80, 0.1), 1, "match"),  # at the threshold
        ((0.79, 0.1), 5, "review"),
        ((0.40, 0.1), 5, "review"),  # not below the second
        ((0.39, 0.1), 2, "new"),
        ((0.39, 0.1), 1, "review"),  # one frame makes nobody new
        ((), 2, "new"),  # an empty gallery
        ((), 1, "review"),
        ((), 0, "unidentifiable"),
    ],
)
def test_the_decision_by_similarity(given, frames, decision):
    assert decide(ranking(*given, num_frames=frames), thresholds()) == decision


def test_without_a_usable_frame_or_thresholds():
    assert decide(None, thresholds()) == "unidentifiable"
    assert decide(ranking(0.99), None) == "review"


def test_votes_order_the_individuals_where_they_are_counted():
    #             A    B    C
    similarity = [[0.9, 0.7, 0.1]]
    votes = [[0.5, 0.8, 0.0], [0.5, 0.6, 0.1]]
    result = rank(["A", "B", "C"], np.array(2 * similarity, np.float32), None,
                  np.array(votes, np.float32))  # fmt: skip
    assert result.individual_ids == ("B", "A", "C")
    assert result.similarities == pytest.approx((0.7, 0.9, 0.1))
    assert result.votes == pytest.approx((0.7, 0.5, 0.05))
    assert decide(result, thresholds("vote", match=0.7)) == "match"
    assert decide(result, thresholds("vote", match=0.71)) == "review"


def test_a_visit_goes_by_the_thresholds_of_its_light_then_its_flank_then_the_common_ones():
    night, left = (
        Apart(group=group, match=match, new=0.1, curve=None)
        for group, match in (("infrared", 0.6), ("left flank", 0.7))
    )
    limits = replace(thresholds("vote"), apart=(night, left))
    told = {kind: limits.of_visit(*kind) for kind in ((1, -1), (1, 1), (-1, -1), (0, 1), (0, 0))}
    assert [one.match for one in told.values()] == [0.6, 0.6, 0.7, 0.8, 0.8]
    assert told[1, -1].source == "gallery (infrared)" and told[0, 0] == limits
    assert [prevailing(one) for one in ([1, 1, -1], [-1, 0], [1, -1], [])] == [1, -1, 0, 0]


def test_individuals_are_ranked_by_their_mean_over_frames():
    #                A    B    C
    frames = [[0.9, 0.5, 0.1], [0.1, 0.6, 0.7]]
    result = rank(["A", "B", "C"], np.array(frames, np.float32))
    assert result.individual_ids == ("B", "A", "C")
    assert result.similarities == pytest.approx((0.55, 0.5, 0.4))
    assert result.num_frames == 2


def reference(num_individuals, groups_each=2, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    rows, individuals, groups = [], [], []
    for individual in range(num_individuals):
        centre = rng.standard_normal(64)
        for group in range(groups_each):
            rows.append(centre + noise * rng.standard_normal(64))
            individuals.append(individual)
            groups.append(individual * groups_each + group)
    emb = np.array(rows, np.float32)
    return Reference(
        emb_MD=emb / np.linalg.norm(emb, axis=1, keepdims=True),
        individual_M=np.array(individuals),
        group_M=np.array(groups),
    )


def test_nine_individuals_are_too_few_for_thresholds():
    assert fit(reference(9), source="gallery") is None
    assert fit(reference(10), source="gallery") is not None


def test_thresholds_keep_nine_of_ten_strangers_from_a_name():
    result = fit(reference(40), source="gallery")
    assert result is not None
    assert result.wrong_name_rate == pytest.approx(0.1, abs=0.02)
    assert result.match < 0.5  # far below what an animal has with itself
    assert result.new <= result.match
    assert result.false_new_rate is not None and result.false_new_rate <= 0.06
    assert (result.named_rate, result.misnamed_rate) == (1.0, 0.0)


def test_an_encoder_that_tells_nobody_apart_is_known_to_misname():
    mixed = reference(40, noise=4.0)
    result = fit(mixed, source="gallery")
    assert result is not None and result.statistic == "vote"
    vote = tabulate(mixed).vote_GI
    named = vote.max(axis=1) >= result.match
    right = vote.argmax(axis=1) == mixed.individual_M
    assert result.named_rate == pytest.approx(np.mean(named & right))
    assert result.misnamed_rate == pytest.approx(np.mean(named & ~right))
    assert result.misnamed_rate + result.named_rate < 0.3  # nearly all is left to a person


def test_with_one_event_an_animal_no_false_new_rate_is_claimed():
    result = fit(reference(12, groups_each=1), source="gallery")
    assert result is not None
    assert result.false_new_rate is None and result.named_rate is None
