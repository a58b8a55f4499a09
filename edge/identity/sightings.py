"""Events and their decisions kept up to date as detections arrive, late ones too.

Everything here runs inside the transaction that records a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from edge.decide import (
    DecisionKind,
    Ranking,
    Thresholds,
    decide,
    prevailing,
    probability,
    rank,
)
from edge.events import group_by_gap, split_animals
from edge.gallery.gallery import LIGHT_SIGNS, SIDES, Beside, Gallery, Matches, fill_gaps
from edge.identity import lights
from edge.identity.newcomers import Newcomers
from edge.pictures import Flank
from edge.record import store_events, store_log, store_provisional
from edge.record.store import Store, new_id
from edge.record.store_events import EventDetection, Nearest, NewObservation
from edge.record.store_media import TimeSource

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
    newcomers: Newcomers = field(default_factory=Newcomers)


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
    judge.newcomers.read(store, judge.encoder_id)
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
    event_id, moments = new_id(), [one.captured_at for one in picture]  # more of a clip's frames
    store_events.put_event(store, event_id, deployment_id, min(moments), max(moments))
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
        judge.newcomers.forget(other.event_id)
    for one in group:
        store_events.join_event(store, event_id, one.detection_id)
    return event_id


def _decide_event(store: Store, judge: Judge, event_id: str) -> None:
    """One observation an animal; a reviewed observation and its detections stay as they are."""
    found = store_events.event_detections(store, event_id, judge.encoder_id)
    detections = [one for one in found if not one.reviewed]
    minted = store_provisional.of_event(store, event_id)
    animals = _animals(detections, judge.gallery.embedding_dim)
    store_events.clear_observations(store, event_id)
    taken: set[str] = set()
    for members in animals:
        observation_id = (
            next(
                (one.observation_id for one in members if one.observation_id not in {None, *taken}),
                None,
            )
            or new_id()
        )
        taken.add(observation_id)
        animal = _Animal(
            event_id=event_id,
            observation_id=observation_id,
            members=members,
            provisional_id=minted.get(observation_id),
        )
        _decide_animal(store, judge, animal)
    store_provisional.drop_unused(store, list(minted.values()))
    judge.newcomers.follow(store, judge.encoder_id, event_id)


def _animals(detections: list[EventDetection], dim: int) -> list[list[EventDetection]]:
    if not detections:
        return []
    first = detections[0].captured_at
    groups = split_animals(
        [one.frame for one in detections],
        np.stack([_embedding(one.embedding, dim) for one in detections]),
        np.array([one.centre for one in detections]),
        np.array([(one.captured_at - first).total_seconds() for one in detections]),
    )
    return [[detections[position] for position in group] for group in groups]


def _embedding(stored_D: NDArray[np.float16] | None, dim: int) -> NDArray[np.float32]:
    if stored_D is None:
        return np.zeros(dim, np.float32)
    emb_D = stored_D.astype(np.float32)
    return np.asarray(emb_D / np.linalg.norm(emb_D), np.float32)


@dataclass(frozen=True, kw_only=True)
class _Animal:
    """The detections of one animal in one event."""

    event_id: str
    observation_id: str
    members: list[EventDetection]
    provisional_id: str | None  # minted for it before a late frame came

    @property
    def usable(self) -> list[EventDetection]:
        return [one for one in self.members if one.embedding is not None]


def _decide_animal(store: Store, judge: Judge, animal: _Animal) -> None:
    usable = animal.usable
    judge = _of_visit(store, judge, usable)
    look: _Look | None = None
    ranking: Ranking | None = None
    nearest_of: dict[str, Nearest] = {}
    if usable:
        look = _look(usable, judge)
        ranking = _rank(look, judge)
        nearest_of = _nearest_of_each(usable, look.matches)
    known = ranking is not None and bool(ranking.individual_ids)
    decision = decide(ranking, judge.thresholds)
    verdict = _Verdict(
        decision=decision,
        individual_id=ranking.individual_ids[0] if ranking and decision == "match" else None,
        nearest=_nearest(ranking) if ranking is not None else _NOTHING_NEAR,
        value=(
            ranking.value(judge.thresholds.statistic)
            if ranking is not None and known and judge.thresholds
            else None
        ),
    )
    if look is not None and decision in {"new", "review"} and judge.thresholds:
        verdict = _among_provisional(store, judge, animal, look, verdict)
    store_events.add_observation(
        store,
        NewObservation(
            observation_id=animal.observation_id,
            event_id=animal.event_id,
            decision=verdict.decision,
            individual_id=verdict.individual_id,
            num_frames=len({one.frame for one in animal.members}),
            num_usable=len(usable),
            nearest=verdict.nearest,
            statistic_value=verdict.value,
            probability=probability(ranking, judge.thresholds),
            thresholds=judge.thresholds,
            model=judge.model,
            encoder_id=judge.encoder_id,
        ),
    )
    for one in animal.members:
        nearest = nearest_of.get(one.detection_id, _NOTHING_NEAR)
        store_events.set_nearest(store, one.detection_id, animal.observation_id, nearest)


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    decision: DecisionKind
    individual_id: str | None
    nearest: Nearest
    value: float | None  # of the thresholds' statistic


@dataclass(frozen=True, kw_only=True)
class _Look:
    """An animal's usable frames, and the named individuals they are most like."""

    emb_ND: NDArray[np.float32]
    flanks: list[Flank]
    qualities: list[float]
    matches: Matches


def _of_visit(store: Store, judge: Judge, usable: list[EventDetection]) -> Judge:
    """With the thresholds of this visit's light and flank, where these are apart."""
    if judge.thresholds is None or not judge.thresholds.apart:
        return judge
    crops = [one.crop for one in usable if one.crop]
    light = prevailing([LIGHT_SIGNS[one] for one in lights.of_crops(store, crops).values()])
    side = prevailing([SIDES[one.flank] for one in usable])
    return replace(judge, thresholds=judge.thresholds.of_visit(light, side))


def _look(usable: list[EventDetection], judge: Judge) -> _Look:
    emb_ND = np.stack([_embedding(one.embedding, judge.gallery.embedding_dim) for one in usable])
    flanks = [one.flank for one in usable]
    return _Look(
        emb_ND=emb_ND,
        flanks=flanks,
        # A detection whose quality was not measured counts as one as good as can be.
        qualities=[1.0 if one.quality is None else one.quality for one in usable],
        matches=judge.gallery.search(emb_ND, flanks),
    )


def _rank(look: _Look, judge: Judge, beside: Beside | None = None) -> Ranking:
    """By the thresholds' statistic; with the individual `beside` among the named ones."""
    ids, similarity_NI = look.matches.individual_ids, look.matches.similarity_NI
    by_vote = judge.thresholds is not None and judge.thresholds.statistic == "vote"
    vote_NI = None
    if by_vote and (ids or beside):
        vote_NI = judge.gallery.votes(look.emb_ND, look.flanks, ids, beside)
    if beside is not None:
        similarity_N1 = fill_gaps(beside.search(look.emb_ND, look.flanks)[:, None])
        ids = [*ids, beside.individual_id]
        similarity_NI = np.concatenate([similarity_NI, similarity_N1], axis=1)
    return rank(ids, similarity_NI, look.qualities, vote_NI)


def _among_provisional(
    store: Store, judge: Judge, animal: _Animal, look: _Look, verdict: _Verdict
) -> _Verdict:
    """Whether it is an animal that was minted in another event; else perhaps one to mint.

    Only what no named animal was found for comes here, so that a provisional individual never
    takes a visit from a named one; and it is held to the same thresholds.
    """
    assert judge.thresholds is not None
    nearest = judge.newcomers.nearest(
        look.emb_ND,
        look.flanks,
        look.qualities,
        but_event=animal.event_id,
        but_animals=set(judge.gallery.individual_ids),
    )
    if nearest is not None:
        joint = _rank(look, judge, nearest)
        value = joint.value(judge.thresholds.statistic)
        is_best = joint.individual_ids[0] == nearest.individual_id
        if value >= judge.thresholds.match and is_best:
            return _Verdict(
                decision="match",
                individual_id=joint.individual_ids[0],
                nearest=_nearest(joint),
                value=value,
            )
        if value >= judge.thresholds.new and verdict.decision == "new":
            return replace(verdict, decision="review", nearest=_nearest(joint), value=value)
    if verdict.decision != "new":
        return verdict
    return replace(verdict, individual_id=animal.provisional_id or _mint(store, animal))


def _mint(store: Store, animal: _Animal) -> str:
    seen = min(one.captured_at for one in animal.members)
    name = store_provisional.free_name(store, seen, animal.observation_id)
    return store_log.mint(store, name, store_provisional.WHO)


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
