"""What was learned of a batch of media, put into the database in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from edge.decoding import quality
from edge.decoding.crops import Cut
from edge.decoding.decoder import Decoded, View
from edge.detect import FoundObject, ObservationType
from edge.errors import MediaError
from edge.identity import sightings
from edge.identity.sightings import Arrival
from edge.record import store_events, store_media
from edge.record.state import crop_name, write_crops
from edge.record.store import new_id
from edge.record.store_events import NewDetection
from edge.record.store_media import MediaState, Outcome
from edge.watch.pipeline import Medium, Pipeline
from edge.watch.taken import Taken


@dataclass(frozen=True, kw_only=True)
class Learned:
    medium: Medium
    decoded: Decoded
    looked: bool  # somebody looked for what is in it


@dataclass(frozen=True, kw_only=True)
class Refused:
    medium: Medium
    error: MediaError


@dataclass(frozen=True, kw_only=True)
class Recorded:
    events: list[str]  # touched
    again: list[Medium]  # their decoder died; to be tried once more


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One object in one frame."""

    of: Learned
    view: View
    found: FoundObject
    cut: Cut | None  # of animals, and of people where they are kept


def record(
    pipeline: Pipeline,
    learned: Sequence[Learned],
    refused: Sequence[Refused],
    counts: Counter[str],
) -> Recorded:
    """Crops come first, so that no record names one that is not there."""
    again: list[Medium] = []
    if not learned and not refused:
        return Recorded(events=[], again=again)
    seen = [one for medium in learned for one in _objects(medium)]
    detections = [_detection(one, pipeline.encoder.manifest.encoder_id) for one in seen]
    write_crops(pipeline.state, [one.cut.jpeg for one in seen if one.cut])
    taken = [pipeline.times.taken(one.decoded, one.medium.files[0]) for one in learned]
    outcomes = {
        one.medium.sha256: _outcome(one, when) for one, when in zip(learned, taken, strict=True)
    }
    arrivals: list[Arrival] = []
    with pipeline.store.transaction():
        for one in refused:
            if _refuse(pipeline, one) == "claimed":
                again.append(one.medium)
        for sha256, outcome in outcomes.items():
            store_media.finish(pipeline.store, sha256, outcome)
        for object_seen, detection in zip(seen, detections, strict=True):
            store_events.add_detection(pipeline.store, detection)
            if detection.observation_type == "animal":
                outcome = outcomes[detection.sha256]
                arrivals.append(_arrival(object_seen, detection, outcome))
        events = sightings.join_events(pipeline.store, pipeline.judge, arrivals)
        if pipeline.finder is not None:
            pipeline.finder.keep(pipeline.store)
    _count(learned, outcomes, counts)
    counts["outside deployment"] += sum(not one.in_deployment for one in taken)
    _count_refused(pipeline, [one for one in refused if one.medium not in again], counts)
    _count_cameras(pipeline, learned)
    return Recorded(events=events, again=again)


def _objects(learned: Learned) -> Iterator[_Seen]:
    for view in learned.decoded.views:
        for found, cut in zip(view.objects, view.cuts, strict=True):
            yield _Seen(of=learned, view=view, found=found, cut=cut)


def _detection(one: _Seen, encoder_id: str) -> NewDetection:
    """With its embedding, where it is an animal large enough to have one."""
    emb_D = one.cut.emb_D if one.cut else None
    return NewDetection(
        detection_id=new_id(),
        sha256=one.of.medium.sha256,
        frame_ms=one.view.frame_ms,
        observation_type=one.found.observation_type,
        box=one.found.box,
        confidence=one.found.confidence,
        usable=emb_D is not None,
        quality=_quality(one),
        embedding=None if emb_D is None else emb_D.astype(np.float16),
        encoder_id=None if emb_D is None else encoder_id,
        crop=crop_name(one.cut.jpeg) if one.cut else None,
    )


def _quality(one: _Seen) -> float | None:
    if one.cut is None:
        return None
    damaged = one.of.decoded.damage is not None
    return quality.score(one.cut.quality, one.found.confidence, damaged=damaged)


def _outcome(learned: Learned, taken: Taken) -> Outcome:
    decoded, facts = learned.decoded, learned.decoded.facts
    return Outcome(
        kind=decoded.kind,
        width=decoded.width,
        height=decoded.height,
        num_frames=decoded.num_frames,
        duration_seconds=decoded.duration_seconds,
        captured_at=taken.captured_at,
        camera_time=taken.camera_time,
        time_source=taken.time_source,
        utc_offset_minutes=taken.utc_offset_minutes,
        latitude=facts.latitude,
        longitude=facts.longitude,
        camera=facts.camera,
        observation_type=_observation_type(learned),
        damage=decoded.damage,
    )


def _observation_type(learned: Learned) -> ObservationType:
    if not learned.looked:
        return "unclassified"
    kinds = _kinds(learned)
    order: tuple[ObservationType, ...] = ("animal", "human", "vehicle", "unclassified")
    return next((kind for kind in order if kind in kinds), "blank")


def _kinds(learned: Learned) -> set[ObservationType]:
    return {one.observation_type for view in learned.decoded.views for one in view.objects}


def _arrival(one: _Seen, detection: NewDetection, outcome: Outcome) -> Arrival:
    return Arrival(
        detection_id=detection.detection_id,
        sha256=detection.sha256,
        deployment_id=one.of.medium.files[0].deployment_id,
        captured_at=outcome.captured_at + timedelta(milliseconds=one.view.frame_ms or 0),
        time_source=outcome.time_source,
    )


def _refuse(pipeline: Pipeline, refused: Refused) -> MediaState:
    medium, error = refused.medium, refused.error
    if error.reason == "crashed":  # perhaps not by its own fault
        return store_media.fail(
            pipeline.store, medium.sha256, medium.files, error.reason, error.detail
        )
    store_media.quarantine(pipeline.store, medium.sha256, medium.files, error.reason, error.detail)
    return "quarantined"


def _count_refused(pipeline: Pipeline, refused: Sequence[Refused], counts: Counter[str]) -> None:
    for one in refused:
        counts["quarantined"] += len(one.medium.files)
        pipeline.health.count_quarantined(one.error.reason)


def _count_cameras(pipeline: Pipeline, learned: Sequence[Learned]) -> None:
    cameras = Counter(one.medium.files[0].deployment_id for one in learned)
    for camera, number in cameras.items():
        pipeline.health.count_camera(camera, number)


def _count(
    learned: Sequence[Learned], outcomes: Mapping[str, Outcome], counts: Counter[str]
) -> None:
    for one in learned:
        outcome = outcomes[one.medium.sha256]
        counts["frames"] += 1
        counts[outcome.observation_type] += 1
        counts["not in boxes"] += not one.looked
        counts["with people"] += "human" in _kinds(one)
        counts["file time"] += outcome.time_source == "mtime"
        counts["damaged"] += outcome.damage is not None
