"""BAKS and BAUS against a version that reads query by query."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from edge import calibrate
from edge.errors import InputError
from edge.identity.trials import Reference
from edge.identity.votes import votes
from trainer.data import CropFact
from trainer.evaluation.openset import open_set
from trainer.evaluation.trial import Trial, new_trial

from ..labelled import crops_of, fact, rules

SPLITS = ("query", "gallery", "gallery", "query")


def herd(num_animals: int, seed: int, noise: float = 0.5) -> tuple[Trial, NDArray[np.float32]]:
    """Five pictures of each animal in three encounters, as a split, and their unit rows.

    Every second animal is asked about once more.
    """
    facts: list[CropFact] = []
    for animal in range(num_animals):
        for number, split in enumerate((*SPLITS, ("gallery", "query")[animal % 2])):
            name, encounter = f"{animal}-{number}", f"e{number // 2}"
            facts.append(fact(f"animal {animal}", name, encounter, split=split))
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(num_animals, 16)), len(SPLITS) + 1, axis=0)
    rows = centres + noise * rng.normal(size=centres.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return new_trial(crops_of(facts), rules()), rows.astype(np.float32)


def slow_scores(trial: Trial, emb: NDArray[np.float32], share: float, seed: int) -> list[float]:
    facts, division = trial.crops.facts, trial.division
    animals = sorted({one.picture.identity or "" for one in facts})
    generator = np.random.default_rng(seed)
    held_out = set(generator.choice(np.array(animals), round(share * len(animals)), replace=False))
    kept = [row for row in division.gallery_G if facts[row].picture.identity not in held_out]
    thresholds = calibrate.fit(
        Reference(
            emb_MD=emb[kept],
            individual_M=np.array([animals.index(facts[row].picture.identity) for row in kept]),
            group_M=division.group_N[kept],
        ),
        "gallery",
    )
    assert thresholds is not None
    right: dict[bool, dict[str, list[bool]]] = {True: defaultdict(list), False: defaultdict(list)}
    known, best = [], []
    for query in division.query_Q:
        identity = facts[query].picture.identity or ""
        similarity: dict[str, float] = {}
        compared: list[int] = []
        for row in kept:
            name = facts[row].picture.identity or ""
            same = facts[row].picture.encounter == facts[query].picture.encounter
            if not (same and name == identity):
                value = float(emb[query] @ emb[row])
                similarity[name] = max(similarity.get(name, -1.0), value)
                compared.append(row)
        there = list(similarity)
        own = np.array([there.index(facts[row].picture.identity or "") for row in compared])
        (vote,) = votes(
            (emb[query] @ emb[compared].T)[None], np.array([list(similarity.values())]),
            emb[compared], own,
        )  # fmt: skip
        ranked = sorted(there, key=lambda name: -vote[there.index(name)])
        named = vote.max() >= thresholds.match
        is_known = identity in similarity
        right[is_known][identity].append(
            (named and ranked[0] == identity) if is_known else not named
        )
        known.append(is_known)
        best.append(max(similarity.values()))
    baks, baus = (np.mean([np.mean(one) for one in right[part].values()]) for part in (True, False))
    return [float(baks), float(baus), math.sqrt(baks * baus), float(roc_auc_score(known, best))]


@pytest.mark.parametrize("noise", [0.5, 1.2])
def test_figures_equal_those_of_reading_query_by_query(noise: float) -> None:
    trial, emb = herd(16, seed=4, noise=noise)
    slow = np.array([slow_scores(trial, emb, 0.3, seed) for seed in (0, 1, 2)])
    found = open_set(trial, emb, 0.3, (0, 1, 2))
    spreads = (found.baks, found.baus, found.geometric_mean, found.auroc)
    assert [one.mean for one in spreads] == pytest.approx(slow.mean(axis=0))
    assert [one.sd for one in spreads] == pytest.approx(slow.std(axis=0, ddof=1))
    assert found.num_held_out == 5
    assert found.num_known + found.num_unknown == len(trial.query_identity_Q) == 40
    assert 0 < found.baks.mean < 1 or 0 < found.baus.mean < 1


def test_the_same_seed_holds_out_the_same_animals() -> None:
    trial, emb = herd(16, seed=4)
    first, again = (open_set(trial, emb, 0.3, (7,)) for _ in range(2))
    assert first == again
    assert first.baus.sd == 0.0
    assert first != open_set(trial, emb, 0.3, (8,))


def test_an_animal_seen_in_one_encounter_only_is_unknown_to_its_own_pictures() -> None:
    facts = [
        fact(f"animal {animal}", f"{animal}-{n}", f"e{n}") for animal in range(14) for n in "ab"
    ]
    facts += [fact("once", "once-a", "e1"), fact("once", "once-b", "e1")]
    rng = np.random.default_rng(0)
    emb = np.repeat(rng.normal(size=(15, 16)), 2, axis=0) + 0.3 * rng.normal(size=(30, 16))
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    trial = new_trial(crops_of(facts), rules())
    found = open_set(trial, emb.astype(np.float32), 0.2, (0, 1))
    held_out_once = ["once" in _drawn(trial, 0.2, seed) for seed in (0, 1)]
    unknown = [6 if once else 8 for once in held_out_once]
    assert found.num_held_out == 3
    assert found.num_unknown == pytest.approx(np.mean(unknown))


def _drawn(trial: Trial, share: float, seed: int) -> set[str]:
    names = np.unique(trial.query_identity_Q)
    return set(np.random.default_rng(seed).choice(names, round(share * len(names)), replace=False))


def test_too_few_animals_for_a_threshold_are_refused() -> None:
    trial, emb = herd(12, seed=0)
    with pytest.raises(InputError, match=r"leaves 6 animals in the gallery.* 10 at least"):
        open_set(trial, emb, 0.5, (0,))
