"""How fast an encoder is on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge import model
from edge.encoder import Encoder

NUM_ROUNDS = 5
CROPS_PER_ROUND = 16


@dataclass(frozen=True, kw_only=True)
class Speed:
    crops_per_second: float  # from resized crops to embeddings; the median round
    num_rounds: int
    crops_per_round: int


def measure(encoder: Encoder, clock: Callable[[], float]) -> Speed:
    """The speed over a few rounds of the golden inputs, after one that does not count.

    `clock` gives seconds.
    """
    images_NHWC, _ = model.unpack_golden(encoder.manifest.golden)
    batch_NHWC = np.resize(images_NHWC, (CROPS_PER_ROUND, *images_NHWC.shape[1:]))
    encoder.embed(batch_NHWC)
    seconds = []
    for _ in range(NUM_ROUNDS):
        start = clock()
        encoder.embed(batch_NHWC)
        seconds.append(clock() - start)
    return Speed(
        crops_per_second=CROPS_PER_ROUND / statistics.median(seconds),
        num_rounds=NUM_ROUNDS,
        crops_per_round=CROPS_PER_ROUND,
    )
