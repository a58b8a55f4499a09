"""Votes of the nearest pictures, against a version that solves by hand, one crop at a time."""

from __future__ import annotations

import numpy as np
import pytest

from edge.gallery.gallery import Beside, Gallery
from edge.identity.trials import Reference, tabulate
from edge.identity.votes import NEAREST_ANIMALS, NEAREST_PICTURES, votes
from edge.record.store_gallery import StoredExemplar

DIM = 12
SIDES = {-1: "left", 0: "unknown", 1: "right"}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def herd(num_animals, pictures_each, seed=0, noise=0.7):
    """(embeddings, whose), noisy pictures of random directions."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(num_animals), pictures_each)
    noisy = rng.standard_normal((num_animals, DIM))[own] + noise * rng.standard_normal(
        (len(own), DIM)
    )
    return unit(noisy), own


def slow_votes(emb, gallery, own, num_animals, allowed):
    """Of one crop: the six nearest animals' 64 nearest pictures, weighted by solving for them."""
    cosine = {row: float(emb @ gallery[row]) for row in allowed}
    best = {animal: max((cosine[row] for row in allowed if own[row] == animal), default=-np.inf)
            for animal in range(num_animals)}  # fmt: skip
    near = sorted((one for one in best if np.isfinite(best[one])), key=lambda one: -best[one])
    near = near[:NEAREST_ANIMALS]
    rows = sorted((row for row in allowed if own[row] in near), key=lambda row: -cosine[row])
    rows = rows[:NEAREST_PICTURES]
    kernel = [[np.exp(float(gallery[one] @ gallery[two]) - 1) + 0.01 * (one == two) for two in rows]
              for one in rows]  # fmt: skip
    weights = np.linalg.inv(np.array(kernel)) @ np.exp([cosine[row] - 1 for row in rows])
    share = [sum(weight for row, weight in zip(rows, weights, strict=True) if own[row] == animal)
             for animal in range(num_animals)]  # fmt: skip
    return [(best[animal] + share[animal]) / 2 for animal in range(num_animals)]


def fast_votes(emb, gallery, own, num_animals, allowed=None):
    similarity = emb @ gallery.T
    if allowed is not None:
        similarity[:, ~np.isin(np.arange(len(gallery)), allowed)] = -np.inf
    best = np.stack([similarity[:, own == one].max(axis=1) for one in range(num_animals)], axis=1)
    return votes(similarity, best, gallery, own)


@pytest.mark.parametrize(("num_animals", "pictures_each"), [(3, 2), (9, 4), (12, 20)])
def test_votes_are_those_of_solving_by_hand(num_animals, pictures_each):
    gallery, own = herd(num_animals, pictures_each)
    crops, _ = herd(5, 1, seed=9)
    found = fast_votes(crops, gallery, own, num_animals)
    slow = [slow_votes(one, gallery, own, num_animals, range(len(own))) for one in crops]
    assert found == pytest.approx(np.array(slow), abs=1e-4)


def test_what_must_not_be_compared_has_no_say():
    gallery, own = herd(8, 6)
    crops, _ = herd(4, 1, seed=3)
    allowed = np.flatnonzero(np.arange(len(own)) % 3 > 0)
    found = fast_votes(crops, gallery, own, 8, allowed)
    assert found == pytest.approx(fast_votes(crops, gallery[allowed], own[allowed], 8), abs=1e-5)
    none_of_two = fast_votes(crops, gallery, own, 8, np.flatnonzero(own != 2))
    assert np.isneginf(none_of_two[:, 2]).all() and np.isfinite(none_of_two[:, 3]).all()


def test_a_crop_has_the_same_votes_alone_and_among_others():
    gallery, own = herd(10, 8)
    crops, _ = herd(40, 1, seed=4)
    together = fast_votes(crops, gallery, own, 10)
    alone = np.concatenate([fast_votes(one[None], gallery, own, 10) for one in crops])
    assert together == pytest.approx(alone, abs=1e-5)


def test_ten_pictures_of_one_burst_count_no_more_than_one():
    (first, second), own = herd(2, 1)[0], np.array([0, 1])
    crop = unit(first + 1.05 * second)[None]
    one_each = fast_votes(crop, np.stack([first, second]), own, 2)[0]
    burst = np.stack([first] * 10 + [second])
    with_burst = fast_votes(crop, burst, np.array([0] * 10 + [1]), 2)[0]
    assert one_each[1] > one_each[0]
    assert with_burst == pytest.approx(one_each, abs=0.01)


def test_an_animal_that_everybody_resembles_loses_votes():
    """The cosine of a picture near the middle of all is no better; its votes go to the others."""
    rng = np.random.default_rng(5)
    light = 2 * rng.standard_normal(DIM)
    coats = rng.standard_normal((9, DIM))
    gallery = unit(np.concatenate([coats[:6] + light, [light + 0.2 * coats[6]]]))
    stranger, known = unit(coats[7] + light), unit(coats[2] + light + 0.5 * coats[8])
    found = fast_votes(np.stack([stranger, known]), gallery, np.arange(7), 7)
    cosine = np.stack([stranger, known]) @ gallery.T
    assert found[1].argmax() == 2
    assert found[1].max() - found[0].max() > 2 * (cosine[1].max() - cosine[0].max())


def test_a_table_counts_votes_without_the_group_and_without_its_animal():
    emb, own = herd(7, 6)
    group = np.arange(len(own)) // 2
    table = tabulate(Reference(emb_MD=emb, individual_M=own, group_M=group))
    for number in (0, 7, 20):
        rows = np.flatnonzero(group == number)
        for counted, left_out in (
            (table.vote_GI[number], group == number),
            (table.stranger_vote_GI[number], own == own[rows[0]]),
        ):
            allowed = np.flatnonzero(~left_out)
            slow = np.mean([slow_votes(emb[row], emb, own, 7, allowed) for row in rows], axis=0)
            assert counted == pytest.approx(slow, abs=1e-4)


@pytest.mark.parametrize("flank", ["left", "right", "unknown"])
def test_a_gallery_counts_as_the_table_does_and_others_stand_among_its_own(flank):
    emb, own = herd(9, 6)
    side = np.array([-1, 1, 0])[np.arange(len(own)) % 3]
    exemplars = [
        StoredExemplar(
            individual_id=f"{animal}", flank=SIDES[number], encounter=None, captured_at=None,
            embedding=row.astype("f2"),
        )
        for row, animal, number in zip(emb, own, side, strict=True)
    ]  # fmt: skip
    known = Gallery([one for one in exemplars if one.individual_id != "8"], DIM)
    eighth = np.flatnonzero(own == 8)
    beside = Beside(individual_id="8", emb_MD=emb[eighth], side_M=side[eighth])
    crop = herd(1, 1, seed=2)[0]
    asked = {"left": -1, "unknown": 0, "right": 1}[flank]
    fitting = np.flatnonzero(side * asked != -1)
    ids = known.search(crop, [flank]).individual_ids if flank == "unknown" else list("01234567")
    alone = known.votes(crop, [flank], ids)
    slow = slow_votes(crop[0], emb, own, 9, fitting[own[fitting] != 8])
    assert alone[0] == pytest.approx([slow[int(one)] for one in ids], abs=2e-3)  # float16
    joint = known.votes(crop, [flank], [str(one) for one in range(8)], beside)
    assert joint[0] == pytest.approx(slow_votes(crop[0], emb, own, 9, fitting), abs=2e-3)
