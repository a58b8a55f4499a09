"""Which crops belong to one burst, and what the warm-up's loss and batches are."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.pictures import Picture
from trainer.bursts import (
    WarmUpSettings,
    _draw,
    burst_means,
    contrast,
    find_bursts,
    find_scenes,
    worth_using,
)
from trainer.data import CropFact

NOON = datetime(2026, 5, 1, 12)


def fact(name: str, seconds: float | None = None, encounter: str | None = None) -> CropFact:
    picture = Picture(
        path=Path("data") / name,
        name=name,
        identity=None,
        box=None,
        captured_at=None,
        encounter=encounter,
        flank="unknown",
        split=None,
    )
    captured_at = None if seconds is None else NOON + timedelta(seconds=seconds)
    return CropFact(picture=picture, box=None, sha256=name, captured_at=captured_at)


def same(numbers: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(numbers == number).tolist() for number in dict.fromkeys(numbers)]


def test_frames_seconds_apart_in_one_folder_are_a_burst() -> None:
    facts = (fact("a/1", 0), fact("a/2", 1), fact("a/3", 60), fact("b/4", 1), fact("a/5", 2.5))
    assert same(find_bursts(facts)) == [[0, 1, 4], [2], [3]]


def test_the_encounter_column_beats_the_clock() -> None:
    facts = (fact("a/1", 0, "e1"), fact("a/2", 1, "e2"), fact("b/3", 900, "e1"))
    assert same(find_bursts(facts)) == [[0, 2], [1]]


def test_a_burst_with_two_animals_in_a_picture_is_no_burst() -> None:
    facts = (fact("a/1", 0), fact("a/1", 0), fact("a/2", 1))
    assert same(find_bursts(facts)) == [[0], [1], [2]]


def test_pictures_without_a_time_stay_alone() -> None:
    numbers = find_bursts((fact("a/1"), fact("a/2")))
    assert same(numbers) == [[0], [1]]
    assert not worth_using(numbers)


def test_a_scene_is_a_folder_under_one_light() -> None:
    facts = (fact("a/1", 0), fact("a/2", 900), fact("b/3", 0))
    colour = np.zeros((4, 6, 3), np.uint8) + np.array([90, 60, 20], np.uint8)
    grey = np.full((4, 6, 3), 90, np.uint8)
    scenes = find_scenes(facts, np.stack([colour, grey, colour]), np.array([0, 1, 2]))
    assert scenes.tolist() == [0, 1, 2]


def test_burst_means_are_unit_vectors() -> None:
    emb = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
    means = burst_means(emb, np.array([0, 0, 1]))
    np.testing.assert_allclose(means, [[0.5**0.5, 0.5**0.5], [0, -1]], atol=1e-6)


def test_the_contrast_equals_its_definition() -> None:
    torch.manual_seed(0)
    emb = torch.nn.functional.normalize(torch.randn(6, 5), dim=1)
    label = torch.tensor([0, 0, 1, 1, 1, 2])
    label[5] = 0
    slow = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        total = torch.logsumexp(torch.stack([emb[i] @ emb[j] / 0.1 for j in others]), 0)
        positives = [j for j in others if label[j] == label[i]]
        slow.append(-sum(emb[i] @ emb[j] / 0.1 - total for j in positives) / len(positives))
    assert contrast(emb, label, 0.1).item() == pytest.approx(float(sum(slow) / 6), abs=1e-5)


def test_a_warm_up_batch_comes_from_one_scene_and_fills_up_from_others() -> None:
    members = [np.array([burst]) for burst in range(10)]
    scenes = np.array([0] * 6 + [1] * 4)
    settings = WarmUpSettings(steps=1, bursts=4, images=2, learning_rate=0.1, temperature=0.1)
    chooser = np.random.default_rng(0)
    for _ in range(20):
        rows, labels = _draw(members, scenes, settings, chooser)
        assert len(set(scenes[rows])) == 1
        assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    wide = WarmUpSettings(steps=1, bursts=8, images=2, learning_rate=0.1, temperature=0.1)
    assert len(set(_draw(members, scenes, wide, chooser)[0])) == 8
