"""Which detections belong together: events by time, and the animals inside an event.

Pure functions over times and embeddings; the database part is in edge/identity/sightings.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

EVENT_GAP_SECONDS = 60.0
_PLACE = 0.2  # of cosine, that an unmoved box of the next frame is worth
_SECONDS = 3.0  # the worth of a place falls to a third in so long
_DISTANCE = 0.15  # and over so much of the picture's side


def group_by_gap(
    times: Sequence[datetime], gap_seconds: float = EVENT_GAP_SECONDS
) -> list[list[int]]:
    """Positions in `times`, in order of time, cut wherever more than the gap lies between two."""
    order = sorted(range(len(times)), key=lambda position: times[position])
    groups: list[list[int]] = []
    for position in order:
        if groups and times[position] - times[groups[-1][-1]] <= timedelta(seconds=gap_seconds):
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def split_animals(
    frames: Sequence[str],
    emb_ND: NDArray[np.float32],
    centre_N2: NDArray[np.float64] | None = None,
    second_N: NDArray[np.float64] | None = None,
) -> list[list[int]]:
    """Positions of the detections of each animal in one event; two boxes in a frame are two.

    `frames` names the frame of each detection, in order of time. There are as many animals as the
    fullest frame has boxes; that frame starts them, the others join greedily by similarity to an
    animal's mean embedding, at most one detection a frame. Where the boxes' centres (fractions of
    the picture) and times (seconds) are given, a box that lies where an animal was a few seconds
    before or after is taken for more similar. A row of zeros (a detection without an embedding)
    joins what is left over.
    """
    by_frame: dict[str, list[int]] = {}
    for position, frame in enumerate(frames):
        by_frame.setdefault(frame, []).append(position)
    if not by_frame:
        return []
    fullest = max(by_frame, key=lambda frame: len(by_frame[frame]))
    animals = [[position] for position in by_frame.pop(fullest)]
    sums_AD = emb_ND[[animal[0] for animal in animals]].astype(np.float32)
    for positions in by_frame.values():
        similarity_PA = _similarity(emb_ND[positions], sums_AD)
        if centre_N2 is not None and second_N is not None and len(animals) > 1:
            similarity_PA += _closeness(positions, animals, centre_N2, second_N)
        for position, animal_index in _assign(similarity_PA):
            animals[animal_index].append(positions[position])
            sums_AD[animal_index] += emb_ND[positions[position]]
    return sorted(sorted(animal) for animal in animals)


def _similarity(emb_PD: NDArray[np.float32], sums_AD: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(sums_AD, axis=1, keepdims=True)
    return np.asarray(emb_PD @ (sums_AD / np.maximum(lengths, 1e-12)).T)


def _closeness(
    positions: list[int],
    animals: list[list[int]],
    centre_N2: NDArray[np.float64],
    second_N: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Up to _PLACE where an animal was seen at that very place and time; nothing seconds later."""
    closeness_PA = np.zeros((len(positions), len(animals)), np.float32)
    for row, position in enumerate(positions):
        for column, animal in enumerate(animals):
            seconds_M = np.abs(second_N[animal] - second_N[position])
            nearest = animal[int(np.argmin(seconds_M))]
            distance = float(np.linalg.norm(centre_N2[nearest] - centre_N2[position]))
            closeness_PA[row, column] = _PLACE * np.exp(
                -float(seconds_M.min()) / _SECONDS - distance / _DISTANCE
            )
    return closeness_PA


def _assign(similarity_NA: NDArray[np.float32]) -> list[tuple[int, int]]:
    """(detection, animal) pairs of one frame, the most similar pair first."""
    pairs: list[tuple[int, int]] = []
    for _ in range(len(similarity_NA)):
        flat = int(np.argmax(similarity_NA))
        detection, animal = divmod(flat, similarity_NA.shape[1])
        pairs.append((detection, animal))
        similarity_NA[detection, :] = -np.inf
        similarity_NA[:, animal] = -np.inf
    return pairs
