"""Provisional individuals in the database: animals the device minted because nobody was like them.

Their frames stay where they are, in the observations that say `new`; none becomes an exemplar, so
that they never shift the thresholds of animals a person named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge import store_gallery
from edge.pictures import Flank
from edge.store import Store

_KEPT_FRAMES = 2000  # of provisional individuals that a new animal is compared with, newest first


@dataclass(frozen=True, kw_only=True)
class ProvisionalFrame:
    individual_id: str
    event_id: str
    flank: Flank
    embedding: NDArray[np.float16]


def enrol_provisional(store: Store, name: str, detection_ids: Sequence[str]) -> str:
    """A new individual with a provisional name, logged; gives its individual_id."""
    individual_id = store_gallery.add_individual(store, name, provisional=True)
    details = {"name": name, "detections": sorted(detection_ids)}
    store_gallery.log(store, "provisional", individual_id, details)
    return individual_id


def frames(store: Store, encoder_id: str, but_event: str) -> list[ProvisionalFrame]:
    """The newest frames of provisional individuals, those of one event left out."""
    rows = store.execute(
        "SELECT observation.individual_id, detection.event_id, flank, embedding "
        "FROM observation JOIN individual USING (individual_id) "
        "JOIN detection USING (observation_id) "
        "WHERE decision = 'new' AND provisional = 1 AND observation.event_id <> ? "
        "AND detection.encoder_id = ? AND embedding IS NOT NULL "
        "ORDER BY decided_at DESC, detection_id LIMIT ?",
        (but_event, encoder_id, _KEPT_FRAMES),
    )
    return [
        ProvisionalFrame(
            individual_id=individual_id,
            event_id=event_id,
            flank=flank,
            embedding=np.frombuffer(embedding, "<f2"),
        )
        for individual_id, event_id, flank, embedding in rows
    ]


def of_event(store: Store, event_id: str) -> dict[str, str]:
    """observation_id to the provisional individual that was minted for it."""
    rows = store.execute(
        "SELECT observation_id, individual_id FROM observation JOIN individual "
        "USING (individual_id) WHERE event_id = ? AND decision = 'new' AND provisional = 1",
        (event_id,),
    )
    return {str(row[0]): str(row[1]) for row in rows}


def drop_unused(store: Store, individual_ids: Sequence[str]) -> None:
    """Takes back provisional individuals that nothing is said to be, or like, any more.

    The log keeps both that they came and that they went.
    """
    for individual_id in individual_ids:
        used = store.execute(
            "SELECT 1 FROM observation WHERE ?1 IN (individual_id, best_individual_id, "
            "runner_up_id) UNION ALL SELECT 1 FROM review WHERE individual_id = ?1 UNION ALL "
            "SELECT 1 FROM exemplar WHERE individual_id = ?1 UNION ALL "
            "SELECT 1 FROM detection WHERE ?1 IN (best_individual_id, runner_up_id) LIMIT 1",
            (individual_id,),
        )
        if not used:
            store_gallery.log(store, "unprovisional", individual_id, {})
            store.execute("DELETE FROM individual WHERE individual_id = ?", (individual_id,))


def free_name(store: Store, seen: datetime, seed: str) -> str:
    """`new-2026-05-01-a1b2`: the day it was first seen, and what nobody else has."""
    letters = seed.replace("-", "")
    for length in range(4, len(letters) + 1):
        name = f"new-{seen:%Y-%m-%d}-{letters[-length:]}"
        if store_gallery.find_individual(store, name) is None:
            return name
    raise AssertionError(f"the observation {seed} has been named before")
