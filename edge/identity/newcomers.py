"""The animals that the device minted itself, and which of them one is most like.

Their frames come from the database once and are followed from then on: reading 2,000 of them for
every animal that nobody was like took longer than finding it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.decide import rank
from edge.gallery.gallery import SIDES, Beside, fill_gaps
from edge.identity.row_buffer import RowBuffer
from edge.pictures import Flank
from edge.record import store_provisional
from edge.record.store import Store
from edge.record.store_provisional import KEPT_FRAMES, ProvisionalFrame


class Newcomers:
    """Frames of minted animals, the newest last, their embeddings as rows of unit length."""

    def __init__(self) -> None:
        self._frames: list[ProvisionalFrame] = []
        self._embeddings = RowBuffer(KEPT_FRAMES)
        self._read_at: object = None  # the encoder and the version of the database

    def read(self, store: Store, encoder_id: str) -> None:
        """Anew where somebody else changed the database, or a transaction was taken back.

        Call it in each transaction before the other methods.
        """
        now = (encoder_id, store.version)
        if self._read_at != now:
            self._put([], store_provisional.frames(store, encoder_id))
            self._read_at = now

    def forget(self, event_id: str) -> None:
        """An event that went into another."""
        self._put(self._rows_but(event_id), [])

    def follow(self, store: Store, encoder_id: str, event_id: str) -> None:
        """An event that was decided, perhaps anew."""
        was_full = len(self._frames) == KEPT_FRAMES
        self._put(self._rows_but(event_id), store_provisional.frames(store, encoder_id, event_id))
        if was_full and len(self._frames) < KEPT_FRAMES:  # older ones have their place again
            self._read_at = None
            self.read(store, encoder_id)

    def nearest(
        self,
        emb_ND: NDArray[np.float32],
        flanks: Sequence[Flank],
        qualities: Sequence[float],
        *,
        but_event: str,
        but_animals: Collection[str],
    ) -> Beside | None:
        """The most similar animal, by its frames of other events; None: none fits."""
        animals = sorted({one.individual_id for one in self._frames}.difference(but_animals))
        number_of = {one: number for number, one in enumerate(animals)}
        row_M = np.array(
            [
                row
                for row, one in enumerate(self._frames)
                if one.event_id != but_event and one.individual_id in number_of
            ],
            np.int64,
        )
        if not len(row_M):
            return None
        own_M = np.array([number_of[self._frames[row].individual_id] for row in row_M], np.int64)
        side_M = np.array([SIDES[self._frames[row].flank] for row in row_M], np.int64)
        side_N1 = np.array([[SIDES[one]] for one in flanks], np.int64)
        emb_MD = self._embeddings.rows
        similarity_NM = (emb_ND @ emb_MD.T)[:, row_M]
        similarity_NM[side_N1 * side_M == -1] = -np.inf
        best_IN = np.full((len(animals), len(flanks)), -np.inf, np.float32)
        np.maximum.at(best_IN, own_M, similarity_NM.T)
        fitting = np.flatnonzero(np.isfinite(best_IN).any(axis=1))
        if not len(fitting):
            return None
        ranking = rank([animals[one] for one in fitting], fill_gaps(best_IN[fitting].T), qualities)
        best = ranking.individual_ids[0]
        mine_M = own_M == number_of[best]
        return Beside(individual_id=best, emb_MD=emb_MD[row_M[mine_M]], side_M=side_M[mine_M])

    def _rows_but(self, event_id: str) -> list[int]:
        return [row for row, one in enumerate(self._frames) if one.event_id != event_id]

    def _put(self, kept: list[int], frames: Sequence[ProvisionalFrame]) -> None:
        """The newest of the rows kept and of these frames, of which the newest come first."""
        frames = frames[::-1]
        if not frames and len(kept) == len(self._frames):
            return
        self._embeddings.keep(kept)
        if frames:
            self._embeddings.append(_unit_rows(frames))
        everything = [*(self._frames[row] for row in kept), *frames]
        self._frames = everything[-KEPT_FRAMES:]


def _unit_rows(frames: Sequence[ProvisionalFrame]) -> NDArray[np.float32]:
    emb_MD = np.stack([one.embedding for one in frames]).astype(np.float32)
    return np.asarray(emb_MD / np.linalg.norm(emb_MD, axis=1, keepdims=True), np.float32)
