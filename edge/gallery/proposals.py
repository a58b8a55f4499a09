"""Which animals may be one: minted animals against each other and against the named ones.

Asked again each time, with the thresholds of the latest decisions: what was clearly new when it
came need not be so beside what came later. A person looks and merges, or does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.identity.votes import votes
from edge.pictures import Flank
from edge.record import store_gallery, store_provisional
from edge.record.store import Store
from edge.record.store_gallery import StoredExemplar
from edge.record.store_provisional import ProvisionalFrame

_MAX_FRAMES = 8  # of a minted animal that are compared
_SIDE: dict[Flank, int] = {"left": -1, "unknown": 0, "right": 1}


@dataclass(frozen=True, kw_only=True)
class MergeProposal:
    """The minted animal `one` may be `other`, named or minted."""

    one_id: str
    one_name: str
    other_id: str
    other_name: str
    similarity: float  # mean cosine of `one`'s frames to the best picture of `other`


def proposals(store: Store) -> list[MergeProposal]:
    """The surest first; none before a decision was made with thresholds.

    A pair is proposed where the decision would not call the one new beside the other, unless both
    were seen in one event, which are two animals.
    """
    limits = store_provisional.latest_limits(store)
    if limits is None:
        return []
    named = store_gallery.exemplars(store, limits.encoder_id)
    known = {one.individual_id for one in named}
    frames = [
        one
        for one in store_provisional.frames(store, limits.encoder_id)
        if one.individual_id not in known
    ]
    if not frames:
        return []
    everything: list[ProvisionalFrame | StoredExemplar] = [*frames, *named]
    animals = sorted({one.individual_id for one in everything})
    row_of = {one: row for row, one in enumerate(animals)}
    own_M = np.array([row_of[one.individual_id] for one in everything], np.int64)
    side_M = np.array([_SIDE[one.flank] for one in everything], np.int64)
    emb_MD = _unit_rows([one.embedding for one in everything])
    events: dict[str, set[str]] = {}
    for one in frames:
        events.setdefault(one.individual_id, set()).add(one.event_id)
    names = store_gallery.names(store)
    found: dict[frozenset[str], MergeProposal] = {}
    for minted in events:
        rows = np.flatnonzero(own_M[: len(frames)] == row_of[minted])[:_MAX_FRAMES]
        similarity_NM = emb_MD[rows] @ emb_MD.T
        similarity_NM[side_M[rows, None] * side_M == -1] = -np.inf
        similarity_NM[:, own_M == row_of[minted]] = -np.inf
        best_NI = _best(similarity_NM, own_M)
        similarity_I = value_I = best_NI.mean(axis=0)
        if limits.statistic == "vote":
            value_I = votes(similarity_NM, best_NI, emb_MD, own_M).mean(axis=0)
        best = int(np.argmax(value_I))
        other = animals[best]
        apart = bool(events[minted] & events.get(other, set()))
        if apart or not value_I[best] >= limits.new:
            continue
        proposal = MergeProposal(
            one_id=minted,
            one_name=names[minted],
            other_id=other,
            other_name=names[other],
            similarity=float(similarity_I[best]),
        )
        found.setdefault(frozenset((minted, other)), proposal)
    return sorted(found.values(), key=lambda one: (-one.similarity, one.one_name))


def _best(similarity_NM: NDArray[np.float32], own_M: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each row's best fitting picture of each animal; -inf where none fits."""
    best_IN = np.full((int(own_M.max()) + 1, len(similarity_NM)), -np.inf, np.float32)
    np.maximum.at(best_IN, own_M, similarity_NM.T)
    return np.asarray(best_IN.T)


def _unit_rows(embeddings: list[NDArray[np.float16]]) -> NDArray[np.float32]:
    emb_MD = np.stack(embeddings).astype(np.float32)
    return np.asarray(emb_MD / np.linalg.norm(emb_MD, axis=1, keepdims=True), np.float32)
