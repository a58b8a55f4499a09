"""Events and their decisions kept up to date as detections arrive, late ones too.

Everything here runs inside the transaction that records a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from edge import store_events
from edge.decide import Ranking, Thresholds, decide, rank
from edge.events import group_by_gap, split_animals
from edge.gallery import Gallery, Matches
from edge.store import Store, new_id
from edge.store_events import EventDetection, Nearest, NewObservation
from edge.store_media import TimeSource

_NOTHING_NEAR = Nearest(
    best_id=None, best_similarity=None, runner_up_id=None, runner_up_similarity=None
)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What a decision is made with."""

    gallery: Gallery
    thresholds: Thresholds | None
    model: str
    encoder_id: str
    event_gap_seconds: float


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """An animal detection that has just been recorded and belongs to no event yet."""

    detection_id: str
    sha256: str
    deployment_id: str
    captured_at: datetime
    time_source: TimeSource


def join_events(store: Store, judge: Judge, arrivals: Sequence[Arrival]) -> list[str]:
    """Puts the detections into events, merging those they bridge, and decides these anew.

    A picture whose camera wrote no time is an event of its own: its file's time is that of a copy,
    and a folder copied in one go would be one event. Gives the ids of the events touched.
    """
    touched: list[str] = []
    by_deployment: dict[str, list[Arrival]] = {}
    for one in arrivals:
        by_deployment.setdefault(one.deployment_id, []).append(one)
    for deployment_id, members in by_deployment.items():
        timed = [one for one in members if one.time_source != "mtime"]
        times = [one.captured_at for one in timed]
        for group in group_by_gap(times, judge.event_gap_seconds):
            touched.append(_join(store, judge, deployment_id, [timed[one] for one in group]))
        touched.extend(
            _stand_alone(store, deployment_id, group) for group in _untimed_pictures(members)
        )
    for event_id in touched:
        _decide_event(store, judge, event_id)
    return touched


def _untimed_pictures(members: Sequence[Arrival]) -> list[list[Arrival]]:
    """The detections of each picture that has only its file's time."""
    pictures: dict[str, list[Arrival]] = {}
    for one in members:
        if one.time_source == "mtime":
            pictures.setdefault(one.sha256, []).append(one)
    return list(pictures.values())


def _stand_alone(store: Store, deployment_id: str, picture: list[Arrival]) -> str:
    event_id, moment = new_id(), picture[0].captured_at
    store_events.put_event(store, event_id, deployment_id, moment, moment)
    for one in picture:
        store_events.join_event(store, event_id, one.detection_id)
    return event_id


def _join(store: Store, judge: Judge, deployment_id: str, group: list[Arrival]) -> str:
    """The event of these detections, which lie within the gap of each other."""
    gap = timedelta(seconds=judge.event_gap_seconds)
    start, end = group[0].captured_at, group[-1].captured_at
    near = store_events.events_near(store, deployment_id, start - gap, end + gap)
    event_id = near[0].event_id if near else new_id()
    store_events.put_event(
        store,
        event_id,
        deployment_id,
        min([start, *(one.start for one in near)]),
        max([end, *(one.end for one in near)]),
    )
    for other in near[1:]:
        store_events.merge_event(store, other.event_id, event_id)
    for one in group:
        store_events.join_event(store, event_id, one.detection_id)
    return event_id


def _decide_event(store: Store, judge: Judge, event_id: str) -> None:
    """One observation an animal; a reviewed observation and its detections stay as they are."""
    detections = [one for one in store_events.event_detections(store, event_id) if not one.reviewed]
    emb_ND = np.stack([_embedding(one, judge.gallery.embedding_dim) for one in detections])
    animals = split_animals([one.frame for one in detections], emb_ND)
    store_events.clear_observations(store, event_id)
    taken: set[str] = set()
    for animal in animals:
        members = [detections[position] for position in animal]
        observation_id = (
            next(
                (one.observation_id for one in members if one.observation_id not in {None, *taken}),
                None,
            )
            or new_id()
        )
        taken.add(observation_id)
        _decide_animal(store, judge, event_id, observation_id, members)


def _embedding(detection: EventDetection, dim: int) -> NDArray[np.float32]:
    if detection.embedding is None:
        return np.zeros(dim, np.float32)
    emb_D = detection.embedding.astype(np.float32)
    return np.asarray(emb_D / np.linalg.norm(emb_D), np.float32)


def _decide_animal(
    store: Store,
    judge: Judge,
    event_id: str,
    observation_id: str,
    members: list[EventDetection],
) -> None:
    usable = [one for one in members if one.embedding is not None]
    ranking: Ranking | None = None
    nearest_of: dict[str, Nearest] = {}
    if usable:
        emb_ND = np.stack([_embedding(one, judge.gallery.embedding_dim) for one in usable])
        matches = judge.gallery.search(emb_ND, [one.flank for one in usable])
        ranking = rank(matches.individual_ids, matches.similarity_NI)
        nearest_of = _nearest_of_each(usable, matches)
    known = ranking is not None and bool(ranking.individual_ids)
    observation = NewObservation(
        observation_id=observation_id,
        event_id=event_id,
        decision=decide(ranking, judge.thresholds),
        num_frames=len({one.frame for one in members}),
        num_usable=len(usable),
        nearest=_nearest(ranking) if ranking is not None else _NOTHING_NEAR,
        statistic_value=(
            ranking.value(judge.thresholds.statistic)
            if ranking is not None and known and judge.thresholds
            else None
        ),
        thresholds=judge.thresholds,
        model=judge.model,
        encoder_id=judge.encoder_id,
    )
    store_events.add_observation(store, observation)
    for one in members:
        nearest = nearest_of.get(one.detection_id, _NOTHING_NEAR)
        store_events.set_nearest(store, one.detection_id, observation_id, nearest)


def _nearest_of_each(usable: list[EventDetection], matches: Matches) -> dict[str, Nearest]:
    return {
        one.detection_id: _nearest(rank(matches.individual_ids, row_I[None]))
        for one, row_I in zip(usable, matches.similarity_NI, strict=True)
    }


def _nearest(ranking: Ranking) -> Nearest:
    ids, similarities = ranking.individual_ids, ranking.similarities
    return Nearest(
        best_id=ids[0] if ids else None,
        best_similarity=similarities[0] if ids else None,
        runner_up_id=ids[1] if len(ids) > 1 else None,
        runner_up_similarity=similarities[1] if len(ids) > 1 else None,
    )
