from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from edge.decide import Thresholds
from edge.gallery.gallery import Gallery, _groups, explain
from edge.record.store_gallery import StoredExemplar

from .conftest import DIM, draw, save, write_model


def unit(rng, *shape):
    values = rng.standard_normal(shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def exemplar(individual, emb_D, flank="unknown", encounter=None, captured_at=None):
    return StoredExemplar(
        individual_id=individual,
        flank=flank,
        encounter=encounter,
        captured_at=captured_at,
        embedding=np.asarray(emb_D, np.float16),
    )


def slow_ranking(exemplars, emb_D, flank):
    """Individuals by their best exemplar of a fitting flank; obvious, one at a time."""
    best = {}
    for one in exemplars:
        if "unknown" in (flank, one.flank) or flank == one.flank:
            other = one.embedding.astype(np.float32)
            similarity = float(other / np.linalg.norm(other) @ emb_D)
            best[one.individual_id] = max(similarity, best.get(one.individual_id, -2.0))
    return sorted(best.items(), key=lambda pair: -pair[1])


@pytest.mark.parametrize("num_individuals", [1, 2, 5, 40])
def test_the_nearest_individuals_are_those_of_a_full_comparison(num_individuals):
    rng = np.random.default_rng(num_individuals)
    exemplars = [
        exemplar(f"i{rng.integers(num_individuals):02d}", unit(rng, 32), flank)
        for flank in rng.choice(["left", "right", "unknown"], 300)
    ]
    gallery = Gallery(exemplars, 32)
    for flank in ("left", "right", "unknown"):
        queries = unit(rng, 5, 32)
        for query in queries:
            matches = gallery.search(query[None], [flank])
            order = np.argsort(-matches.similarity_NI[0])
            found = [(matches.individual_ids[i], float(matches.similarity_NI[0, i])) for i in order]
            expected = slow_ranking(exemplars, query, flank)
            top = min(6 if flank == "unknown" else 2, len(expected))
            assert [one[0] for one in found[:top]] == [one[0] for one in expected[:top]]
            for (_, a), (_, b) in zip(found[:top], expected[:top], strict=True):
                assert a == pytest.approx(b, abs=1e-6)


def test_one_animal_with_most_exemplars_does_not_hide_the_others():
    rng = np.random.default_rng(3)
    crowd = unit(rng, 16)
    exemplars = [exemplar("crowd", crowd + 0.01 * unit(rng, 16)) for _ in range(500)]
    exemplars += [exemplar(f"rare{n}", unit(rng, 16)) for n in range(7)]
    matches = Gallery(exemplars, 16).search(crowd[None], ["unknown"])
    assert len(matches.individual_ids) >= 6


def test_the_other_flank_of_an_animal_is_not_compared():
    rng = np.random.default_rng(4)
    left, right = unit(rng, 2, 16)
    gallery = Gallery([exemplar("a", left, "left"), exemplar("a", right, "right")], 16)
    assert gallery.search(left[None], ["right"]).similarity_NI[0, 0] < 0.9
    assert gallery.search(left[None], ["left"]).similarity_NI[0, 0] > 0.999


def test_an_empty_gallery_finds_nobody():
    matches = Gallery([], 16).search(np.ones((2, 16), np.float32), ["unknown", "unknown"])
    assert matches.individual_ids == []
    assert matches.similarity_NI.shape == (2, 0)


def test_reference_groups_are_encounters_else_bursts_else_single_pictures():
    noon = datetime(2026, 5, 1, 12)
    at = [None, None, noon, noon + timedelta(seconds=30), noon + timedelta(hours=1), None, None]
    encounters = ["e1", "e1", None, None, None, None, None]
    exemplars = [
        exemplar("a", np.ones(4), encounter=encounter, captured_at=moment)
        for encounter, moment in zip(encounters, at, strict=True)
    ]
    exemplars.append(exemplar("b", np.ones(4), encounter="e1"))
    assert _groups(exemplars) == [0, 0, 1, 1, 2, 3, 4, 5]


def test_thresholds_are_told_in_plain_words():
    measured = Thresholds(
        statistic="vote", match=0.3, new=0.1, source="gallery",
        wrong_name_rate=0.1, false_new_rate=0.05, named_rate=0.8, misnamed_rate=0.02,
    )  # fmt: skip
    told = explain(measured, 24)
    assert told == (
        "at this setting expect about 10 of 100 strangers to get a known name; of 100 visits of "
        "known animals 80 to get the right name, 2 another's, 5 to be called new, the others left "
        "for you to review; measured on 24 animals of the gallery"
    )
    useless = replace(measured, named_rate=0.02, misnamed_rate=0.08)
    assert "MOST NAMES WOULD BE WRONG" in explain(useless, 24)
    nobody_named = replace(measured, named_rate=0.0, misnamed_rate=0.0)
    assert "WRONG" not in explain(nobody_named, 24)
    of_the_model = replace(
        measured, source="model (pseudo-labels)", named_rate=None, misnamed_rate=None
    )
    assert explain(of_the_model, 3) == (
        "at this setting expect about 10 of 100 strangers to get a known name; of 100 visits of "
        "known animals 5 to be called new; from the model (pseudo-labels), not from your animals"
    )


def test_a_gallery_of_another_encoder_is_refused(known, tmp_path):
    other = write_model(tmp_path / "other.onnx", seed=1)
    save(known.inbox / "1.jpg", draw("A", shot=7))
    for ran in (
        known.watch("--model", str(other)),
        known.enroll(tmp_path / "known", "--model", str(other)),
    ):
        assert ran.code == 1
        assert "was enrolled with the encoder" in ran.err
        assert "edge-gallery reembed --model FILE" in ran.err
        assert "Traceback" not in ran.err
    assert known.rows("media") == []
    assert DIM == 64
