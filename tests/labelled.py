"""Labelled crops for tests of evaluation, made from a few words instead of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np

from edge.pictures import Picture
from trainer.data import CropFact, Crops
from trainer.evaluation.protocol import Protocol, Rules


def fact(
    identity: str,
    name: str,
    encounter: str | None = None,
    hour: int | None = None,
    split: str | None = None,
) -> CropFact:
    """A whole picture, taken at some hour of one day; equal names are the same picture."""
    picture = Picture(
        path=Path(name),
        name=name,
        identity=identity,
        box=None,
        captured_at=None if hour is None else datetime(2026, 5, 1, hour),
        encounter=encounter,
        flank="unknown",
        split=split,
    )
    return CropFact(
        picture=picture, box=None, sha256=f"sha of {name}", captured_at=picture.captured_at
    )


def crops_of(facts: Iterable[CropFact]) -> Crops:
    """Their crops, each of one grey: the value is the position."""
    facts = tuple(facts)
    grey_N = np.arange(len(facts), dtype=np.uint8)
    images_NHWC = np.broadcast_to(grey_N[:, None, None, None], (len(facts), 2, 2, 3))
    return Crops(
        images_NHWC=np.ascontiguousarray(images_NHWC),
        facts=facts,
        skipped=(),
        num_without_animal=0,
        num_unfit=0,
    )


def rules(
    protocol: Protocol = "split", query_share: float = 0.5, exclude_encounter: bool = True
) -> Rules:
    return Rules(protocol=protocol, query_share=query_share, exclude_encounter=exclude_encounter)
