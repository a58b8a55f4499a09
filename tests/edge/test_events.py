from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from edge.events import group_by_gap, split_animals

NOON = datetime(2026, 5, 1, 12)


@pytest.mark.parametrize(
    ("seconds", "groups"),
    [
        ([], []),
        ([0], [[0]]),
        ([0, 60, 120], [[0, 1, 2]]),  # each within the gap of the one before
        ([0, 61], [[0], [1]]),
        ([100, 0, 50], [[1, 2, 0]]),  # in order of time, whatever the order given
        ([0, 0, 200], [[0, 1], [2]]),
    ],
)
def test_a_pause_longer_than_the_gap_begins_a_new_event(seconds, groups):
    assert group_by_gap([NOON + timedelta(seconds=one) for one in seconds], 60) == groups


# Three animals as directions, a little off each time.
LETTERS = {
    "A": [1.0, 0.0, 0.0],
    "a": [0.9, 0.3, 0.0],
    "B": [0.0, 1.0, 0.0],
    "b": [0.2, 0.9, 0.1],
    "C": [0.0, 0.1, 1.0],
    ".": [0.0, 0.0, 0.0],  # no embedding
}


@pytest.mark.parametrize(
    ("frames", "animals"),
    [
        ("A a A", ["0 1 2"]),
        ("A B A", ["0 1 2"]),  # never two in one frame: one animal, whatever it looks like
        ("AB ba", ["0 3", "1 2"]),  # 0 is A, 1 B, 2 b, 3 a
        ("a AB B", ["0 1", "2 3"]),  # the fullest frame starts the animals
        ("ABC c b", ["0", "1 4", "2 3"]),
        ("AB .a", ["0 3", "1 2"]),  # without an embedding: what is left over
        ("AB .", ["0 2", "1"]),
    ],
)
def test_detections_are_shared_out_to_animals(frames, animals):
    names = [str(n) for n, frame in enumerate(frames.split()) for _ in frame]
    letters = frames.replace(" ", "").replace("c", "C")
    emb_ND = np.array([LETTERS[one] for one in letters], np.float32)
    expected = [[int(one) for one in animal.split()] for animal in animals]
    assert split_animals(names, emb_ND) == expected


def test_no_detection_is_no_animal():
    assert split_animals([], np.zeros((0, 3), np.float32)) == []


def test_no_animal_is_twice_in_a_frame_and_none_is_lost():
    rng = np.random.default_rng(1)
    frames = [str(frame) for frame in range(20) for _ in range(rng.integers(1, 5))]
    emb_ND = rng.standard_normal((len(frames), 8)).astype(np.float32)
    animals = split_animals(frames, emb_ND)
    assert sorted(one for animal in animals for one in animal) == list(range(len(frames)))
    assert len(animals) == max(frames.count(frame) for frame in frames)
    for animal in animals:
        assert len({frames[one] for one in animal}) == len(animal)
