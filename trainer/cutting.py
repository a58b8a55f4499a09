"""Crops of what somebody found in a picture, cut and judged by the device's own code.

What the device would not embed is not trained on; and no crop into which a person reaches, so that
nobody is in a cluster, on a page or in a gallery made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.decoding.crops import MIN_SIDE, Cut, cut
from edge.decoding.people import hide_people
from edge.detect import Box, FoundObject, People
from edge.preprocess import Image, InputSpec, crop

Unfit = Literal[
    "person",  # somebody is in it
    "small",  # a side is under 8 pixels
    "poor",  # too few pixels, too blurred, without contrast or overexposed
]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One animal of a picture."""

    found: FoundObject
    box: Box  # relative
    cut: Cut
    unfit: Unfit | None  # why it is not trained on


def cut_out(image_HWC: Image, objects: Sequence[FoundObject], spec: InputSpec) -> list[Piece]:
    """A piece for each animal among the objects, in their order."""
    height, width = image_HWC.shape[:2]
    people = [
        one.box.to_relative(width, height) for one in objects if one.observation_type == "human"
    ]
    shown_HWC = hide_people(image_HWC, people, People.drop)
    pieces: list[Piece] = []
    for one in objects:
        if one.observation_type != "animal":
            continue
        box = one.box.to_relative(width, height)
        shown = crop(shown_HWC, box)
        piece = cut(shown_HWC, box, spec)
        unfit: Unfit | None = None
        if people and not np.array_equal(shown, crop(image_HWC, box)):
            unfit = "person"
        elif not piece.usable:
            unfit = "small" if min(shown.shape[:2]) < MIN_SIDE else "poor"
        pieces.append(Piece(found=one, box=box, cut=piece, unfit=unfit))
    return pieces
