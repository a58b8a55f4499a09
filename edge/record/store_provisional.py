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

from edge.decide import Statistic
from edge.pictures import Flank
from edge.record import store_log
from edge.record.store import Store

WHO = "edge-watch"  # in the gallery's log
# Left to choose, SQLite goes through every new animal's frames, and sorts them.
_NEWEST_INDEX, _EVENT_INDEX = "observation_newest", "observation_by_event"
KEPT_FRAMES = 2000  # of provisional individuals that a new animal is compared with, newest first


@dataclass(frozen=True, kw_only=True)
class ProvisionalFrame:
    individual_id: str
    event_id: str
    flank: Flank
    embedding: NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the latest decision was made with."""

    encoder_id: str
    statistic: Statistic
    new: float


def latest_limits(store: Store) -> Limits | None:
    rows = store.execute(
        "SELECT encoder_id, statistic, new_threshold FROM observation "
        "WHERE new_threshold IS NOT NULL ORDER BY decided_at DESC, observation_id DESC LIMIT 1"
    )
    return Limits(encoder_id=rows[0][0], statistic=rows[0][1], new=rows[0][2]) if rows else None


def frames(store: Store, encoder_id: str, event_id: str | None = None) -> list[ProvisionalFrame]:
    """The newest frames of minted animals, the newest sighting first, or those of one event.

    A minted animal that a person has given a name keeps its frames, and one that was merged brings
    them to the animal it went into; not so a sighting that a person called another's. With
    another model than they were seen with, what `edge-gallery reembed` made of them.
    """
    rows = store.execute(
        "SELECT animal.individual_id, detection.event_id, flank, "
        "coalesce(iif(detection.encoder_id = ?2, embedding, NULL), "
        "(SELECT other.embedding FROM detection_embedding AS other WHERE "
        "other.detection_id = detection.detection_id AND other.encoder_id = ?2)) AS seen_as "
        f"FROM observation INDEXED BY {_NEWEST_INDEX if event_id is None else _EVENT_INDEX} "
        "JOIN individual AS minted USING (individual_id) "
        "JOIN individual AS animal ON animal.individual_id = minted.current_id "
        "JOIN detection USING (observation_id) "
        "LEFT JOIN said USING (observation_id) "
        "WHERE decision = 'new' AND animal.status = 'living' "
        "AND (verdict IS NULL "
        "OR (verdict = 'reject') = (said.individual_id <> observation.individual_id)) "
        f"{'' if event_id is None else 'AND observation.event_id = ?1 '}AND seen_as IS NOT NULL "
        "ORDER BY decided_at DESC, detection_id LIMIT ?3",
        (event_id, encoder_id, KEPT_FRAMES),
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
    """observation_id to the individual that was minted for it, whatever it is called by now."""
    rows = store.execute(
        f"SELECT observation_id, individual_id FROM observation INDEXED BY {_EVENT_INDEX} "
        "JOIN individual USING (individual_id) "
        "WHERE event_id = ? AND decision = 'new' AND status <> 'undone'",
        (event_id,),
    )
    return {str(row[0]): str(row[1]) for row in rows}


def drop_unused(store: Store, individual_ids: Sequence[str]) -> None:
    """Takes back provisional individuals that nothing is said to be, or like, any more.

    The log keeps both that they came and that they went.
    """
    for individual_id in individual_ids:
        used = store.execute(
            "SELECT 1 FROM observation WHERE individual_id = ?1 UNION ALL "  # found at once
            "SELECT 1 FROM exemplar WHERE individual_id = ?1 UNION ALL "
            "SELECT 1 FROM review WHERE individual_id = ?1 UNION ALL "
            "SELECT 1 FROM observation WHERE ?1 IN (best_individual_id, runner_up_id) UNION ALL "
            "SELECT 1 FROM detection WHERE ?1 IN (best_individual_id, runner_up_id) LIMIT 1",
            (individual_id,),
        )
        if not used:
            store_log.unmint(store, individual_id, WHO)


def free_name(store: Store, seen: datetime, seed: str) -> str:
    """`new-2026-05-01-a1b2`: the day it was first seen, and what nobody else has."""
    letters = seed.replace("-", "")
    for length in range(4, len(letters) + 1):
        name = f"new-{seen:%Y-%m-%d}-{letters[-length:]}"
        if not store.execute("SELECT 1 FROM individual WHERE own_name = ?", (name,)):
            return name
    raise AssertionError(f"the observation {seed} has been named before")
