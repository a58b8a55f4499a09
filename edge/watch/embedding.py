"""Decoding with the embedding right behind it: one picture after the other, each by one thread.

While one picture is embedded the next is decoded, as many at a time as there are cores, and what
is done waits for the rest of its batch to be recorded. A core that other work takes away delays
one picture, not a batch, and nothing is kept that is not needed any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.decoding.crops import Cut
from edge.decoding.decoder import Decoded, View, Wanted
from edge.decoding.guard import DecodePool
from edge.detect import FoundObject
from edge.encoder import Encoder
from edge.operation.health import Health


class EmbeddingDecoders:
    """Decoders whose pictures come back with their animals embedded."""

    def __init__(self, decoders: DecodePool, encoder: Encoder, health: Health) -> None:
        self._decoders = decoders
        self._encoder = encoder
        self._health = health

    def submit(self, data: bytes, wanted: Wanted) -> Future[Decoded]:
        """As `DecodePool.submit`; the result also raises ModelError."""
        return self._decoders.submit(data, wanted, self._embedded)

    def _embedded(self, decoded: Decoded) -> Decoded:
        coats = [
            cut.encoder_HWC
            for view in decoded.views
            for found, cut in zip(view.objects, view.cuts, strict=True)
            if cut is not None and is_coat(found, cut)
        ]
        if not coats:
            return decoded
        with self._health.timed("embed"):
            embeddings = iter(self._encoder.embed(np.stack(coats)))
        return replace(decoded, views=tuple(_with(view, embeddings) for view in decoded.views))


def is_coat(found: FoundObject, cut: Cut) -> bool:
    """Whether it shows what an animal can be told by. People are never embedded."""
    return found.observation_type == "animal" and cut.usable


def _with(view: View, embeddings: Iterator[NDArray[np.float32]]) -> View:
    """With the next embeddings, one for each coat."""
    cuts = tuple(
        replace(cut, emb_D=next(embeddings)) if cut is not None and is_coat(found, cut) else cut
        for found, cut in zip(view.objects, view.cuts, strict=True)
    )
    return replace(view, cuts=cuts)
