"""Thresholds of infrared and day, of left and right, by themselves where visits suffice."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge import calibrate
from edge.calibrate import Wanted
from edge.decide import Apart
from edge.gallery.gallery import Gallery
from edge.identity import fitted, lights, promise
from edge.identity.sightings import join_events
from edge.identity.trials import Reference, run_trials, tabulate
from edge.record import store_gallery
from edge.record.state import StateFolder
from edge.record.store import open_reader, open_store
from edge.record.store_gallery import StoredExemplar

from .conftest import draw, save, tiny_manifest
from .test_sightings import LIMITS, judge_of, put, see

DIM = 48


def drawn(num_animals, seed=0, visits=8):
    """Every second visit by infrared light: its pictures are noisier, and share one shift."""
    rng = np.random.default_rng(seed)
    shift = 0.8 * rng.standard_normal(DIM)
    rows, own, group, light = [], [], [], []
    for animal in range(num_animals):
        coat = rng.standard_normal(DIM)
        for visit in range(visits):
            infrared = visit % 2
            noise = (1.3 if infrared else 0.5) * rng.standard_normal(DIM)
            rows.append(coat + noise + infrared * shift)
            own.append(animal)
            group.append(animal * visits + visit)
            light.append(1 if infrared else -1)
    emb = np.array(rows, np.float32)
    return Reference(
        emb_MD=emb / np.linalg.norm(emb, axis=1, keepdims=True), individual_M=np.array(own),
        group_M=np.array(group), light_M=np.array(light),
    )  # fmt: skip


def trials_of(reference, kept):
    part = {name: value[kept] for name, value in vars(reference).items() if value is not None}
    return run_trials(tabulate(Reference(**part)), "vote")


def test_a_common_threshold_names_strangers_by_night_and_their_own_does_not():
    """Calibrated on 40 animals with 160 visits by each light, put to 40 others."""
    named = []
    for seed in range(4):
        reference = drawn(80, seed)
        first, others = (trials_of(reference, kept) for kept in (
            reference.individual_M < 40, reference.individual_M >= 40))  # fmt: skip
        found = calibrate.measure(first, "vote", "gallery", calibrate.DEFAULT).thresholds
        assert [one.group for one in found.apart] == ["infrared", "day"]
        named.append([
            calibrate.rates_at(calibrate.of_group(others, group), limits).strangers_named.share
            for limits in (replace(found, apart=()), found)
            for group in ("infrared", "day")
        ])  # fmt: skip
    common_night, common_day, own_night, own_day = np.mean(named, axis=0)
    assert common_night > 0.15 and common_day < 0.08  # 10 % were wanted of either
    assert own_night == pytest.approx(0.10, abs=0.04)
    assert own_day == pytest.approx(0.10, abs=0.05)
    assert own_night < 0.75 * common_night


@pytest.mark.parametrize(("num_animals", "apart"), [(25, True), (24, False)])
def test_a_hundred_visits_are_enough_and_the_paragraph_says_which_are(num_animals, apart):
    measured = promise.measured(tabulate(drawn(num_animals)), calibrate.DEFAULT)
    told = promise.paragraph(measured, num_animals, calibrate.DEFAULT)
    night = next(iter(measured.thresholds.apart), None)
    assert (night is not None) == apart
    assert told.count("have thresholds of their own") == 2 * apart
    if night is not None:
        own = f"own: {night.match:.3f} and {night.new:.3f}, from 100 visits"
        assert f"Visits by infrared light have thresholds of their {own}" in told
    else:
        assert "by infrared light go by the common thresholds: 96 visits can be tried, 100" in told
    assert "flank" not in told


def test_strict_rates_need_more_visits():
    assert calibrate.visits_for_apart(Wanted(wrong_names=0.1, ghosts=0.05)) == 100
    assert calibrate.visits_for_apart(Wanted(wrong_names=0.1, ghosts=0.005)) == 199


def test_flanks_are_told_apart_as_lights_are():
    reference = drawn(30)
    by_side = replace(reference, light_M=None, side_M=-reference.light_M)
    found = calibrate.fit(by_side, "gallery")
    assert [one.group for one in found.apart] == ["left flank", "right flank"]


def test_rates_are_those_of_decisions_by_the_thresholds_of_each_visit():
    trials = trials_of(drawn(30), slice(None))
    found = calibrate.measure(trials, "vote", "gallery", calibrate.DEFAULT)
    one_by_one = [
        value >= found.thresholds.of_visit(int(light), int(side)).match
        for value, light, side in zip(
            trials.stranger_S, trials.light_S, trials.side_S, strict=True)
    ]  # fmt: skip
    assert found.strangers_named.share == pytest.approx(np.mean(one_by_one))


def test_what_is_kept_of_thresholds_apart_is_what_was_fitted(tmp_path):
    reference = drawn(25)
    exemplars = [
        StoredExemplar(
            individual_id=f"{own:02d}", flank="unknown", encounter=f"{group}", captured_at=None,
            embedding=emb.astype("f2"), infrared=light > 0,
        )
        for emb, own, group, light in zip(
            reference.emb_MD, reference.individual_M, reference.group_M, reference.light_M,
            strict=True)
    ]  # fmt: skip
    store, gallery = open_store(tmp_path / "edge.db"), Gallery(exemplars, DIM)
    first = fitted.kept_thresholds(store, gallery, tiny_manifest())
    assert first.apart and fitted.kept_thresholds(store, gallery, tiny_manifest()) == first
    by_day = Gallery([replace(one, infrared=False) for one in exemplars], DIM)
    assert [one.group for one in fitted.kept_thresholds(store, by_day, tiny_manifest()).apart] == [
        "day"
    ]
    store.close()


def grey_crop(store, name, infrared):
    file = StateFolder(root=store.path.parent).crop(name)
    file.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8)
    if infrared:
        pixels[:] = pixels.mean(axis=2, keepdims=True)
    cv2.imwrite(str(file), pixels)
    return file


def test_a_visit_by_infrared_light_goes_by_the_thresholds_of_infrared(tmp_path):
    store = open_store(tmp_path / "edge.db")
    night = Apart(group="infrared", match=0.999, new=0.9, curve=None)
    limits = replace(LIMITS, apart=(night,))
    file = grey_crop(store, "night", infrared=True)
    grey_crop(store, "day", infrared=False)
    with store.transaction():
        judge = replace(judge_of(store, "ABC"), thresholds=limits)
        for crop in ("night", "day"):
            shot = f"{crop} 06:30:00"
            arrivals = put(store, shot, "A", shot=3)
            store.execute("UPDATE detection SET crop = ? WHERE sha256 = ?", (crop, shot))
            join_events(store, judge, arrivals)
        file.unlink()  # what was looked at once is remembered
        see(store, judge, "night 06:30:09 A")
        rows = dict(store.execute(
            "SELECT deployment_id, decision || ' by ' || threshold_source FROM observation "
            "JOIN event USING (event_id)"))  # fmt: skip
    store.close()
    assert rows == {"night": "review by gallery (infrared)", "day": "match by gallery"}


def test_enrolled_pictures_know_their_light(known, tmp_path):
    night = draw("A", shot=9).mean(axis=2, keepdims=True).repeat(3, axis=2).astype("uint8")
    save(tmp_path / "more" / "A" / "night.jpg", night)
    assert known.enroll(tmp_path / "more").code == 0
    store = open_reader(known.state / "edge.db")
    (encoder_id,) = store_gallery.encoder_ids(store)
    told = [one.infrared for one in store_gallery.exemplars(store, encoder_id)]
    store.close()
    assert sorted(told, key=str) == [False] * 6 + [True]


def test_a_crop_that_is_gone_has_no_light(tmp_path):
    store = open_store(tmp_path / "edge.db")
    grey_crop(store, "night", infrared=True)
    with store.transaction():
        assert lights.of_crops(store, ["night", "gone"]) == {"night": True}
    store.close()
