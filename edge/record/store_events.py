"""Detections, events and observations in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from edge.decide import DecisionKind, Thresholds
from edge.detect import Box, ObservationType
from edge.pictures import Flank
from edge.record.store import Store, now


@dataclass(frozen=True, kw_only=True)
class NewDetection:
    detection_id: str
    sha256: str
    frame_ms: int | None  # in a clip, since its start
    observation_type: ObservationType
    box: Box  # relative
    confidence: float | None
    usable: bool
    quality: float | None  # in [0, 1]; None: not measured
    embedding: NDArray[np.float16] | None
    encoder_id: str | None
    crop: str | None


@dataclass(frozen=True, kw_only=True)
class EventDetection:
    """An animal in a frame of an event."""

    detection_id: str
    frame: str  # the picture, or the moment of a clip
    observation_id: str | None
    reviewed: bool  # a person has spoken about its observation
    captured_at: datetime
    flank: Flank
    quality: float | None
    centre: tuple[float, float]  # of its box, as fractions of the picture
    crop: str | None
    embedding: NDArray[np.float16] | None


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The most similar individual and the next one; None where there is none."""

    best_id: str | None
    best_similarity: float | None
    runner_up_id: str | None
    runner_up_similarity: float | None


@dataclass(frozen=True, kw_only=True)
class NewObservation:
    observation_id: str
    event_id: str
    decision: DecisionKind
    individual_id: str | None  # who it is said to be, a new one by its provisional id
    num_frames: int
    num_usable: int
    nearest: Nearest
    statistic_value: float | None
    probability: float | None  # that the best name is right
    thresholds: Thresholds | None
    model: str
    encoder_id: str


@dataclass(frozen=True, kw_only=True)
class EventSpan:
    event_id: str
    start: datetime
    end: datetime
    reviewed: bool


def add_detection(store: Store, detection: NewDetection) -> None:
    box, embedding = detection.box, detection.embedding
    store.execute(
        "INSERT INTO detection (detection_id, sha256, frame_ms, observation_type, x, y, width, "
        "height, confidence, usable, quality, flank, embedding, encoder_id, crop) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,'unknown',?,?,?)",
        (
            detection.detection_id,
            detection.sha256,
            detection.frame_ms,
            detection.observation_type,
            box.x,
            box.y,
            box.width,
            box.height,
            detection.confidence,
            int(detection.usable),
            detection.quality,
            None if embedding is None else embedding.astype("<f2").tobytes(),
            detection.encoder_id,
            detection.crop,
        ),
    )


def events_near(
    store: Store, deployment_id: str, start: datetime, end: datetime
) -> list[EventSpan]:
    """Events of the deployment that touch the span, the one to keep on merging first.

    An event whose picture has only its file's time takes nothing in.
    """
    rows = store.execute(
        "SELECT event_id, start_at, end_at, EXISTS (SELECT 1 FROM review "
        "JOIN observation USING (observation_id) WHERE observation.event_id = event.event_id) "
        "AS reviewed FROM event WHERE deployment_id = ? AND start_at <= ? AND end_at >= ? "
        "AND NOT EXISTS (SELECT 1 FROM detection JOIN media USING (sha256) "
        "WHERE detection.event_id = event.event_id AND time_source = 'mtime') "
        "ORDER BY reviewed DESC, start_at, event_id",
        (deployment_id, end.isoformat(), start.isoformat()),
    )
    return [
        EventSpan(
            event_id=event_id,
            start=datetime.fromisoformat(start_at),
            end=datetime.fromisoformat(end_at),
            reviewed=bool(reviewed),
        )
        for event_id, start_at, end_at, reviewed in rows
    ]


def put_event(
    store: Store, event_id: str, deployment_id: str, start: datetime, end: datetime
) -> None:
    store.execute(
        "INSERT INTO event (event_id, deployment_id, start_at, end_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET start_at = excluded.start_at, end_at = excluded.end_at",
        (event_id, deployment_id, start.isoformat(), end.isoformat()),
    )


def merge_event(store: Store, event_id: str, into: str) -> None:
    store.execute("UPDATE detection SET event_id = ? WHERE event_id = ?", (into, event_id))
    store.execute("UPDATE observation SET event_id = ? WHERE event_id = ?", (into, event_id))
    store.execute("DELETE FROM event WHERE event_id = ?", (event_id,))


def join_event(store: Store, event_id: str, detection_id: str) -> None:
    store.execute(
        "UPDATE detection SET event_id = ? WHERE detection_id = ?", (event_id, detection_id)
    )


def event_detections(store: Store, event_id: str, encoder_id: str) -> list[EventDetection]:
    """In order of capture time; an embedding of another encoder is none."""
    rows = store.execute(
        "SELECT detection_id, sha256 || coalesce(':' || frame_ms, ''), observation_id, "
        "EXISTS (SELECT 1 FROM review WHERE review.observation_id = detection.observation_id), "
        "captured_at, coalesce(frame_ms, 0), flank, quality, x + detection.width / 2, "
        "y + detection.height / 2, crop, coalesce(iif(encoder_id = ?2, embedding, NULL), "
        "(SELECT other.embedding FROM detection_embedding AS other WHERE "
        "other.detection_id = detection.detection_id AND other.encoder_id = ?2)) "
        "FROM detection JOIN media USING (sha256) "
        "WHERE event_id = ?1 ORDER BY captured_at, sha256, frame_ms, x, y",
        (event_id, encoder_id),
    )
    return [
        EventDetection(
            detection_id=detection_id,
            frame=frame,
            observation_id=observation_id,
            reviewed=bool(reviewed),
            captured_at=datetime.fromisoformat(captured_at) + timedelta(milliseconds=frame_ms),
            flank=flank,
            quality=quality,
            centre=(x, y),
            crop=crop,
            embedding=None if embedding is None else np.frombuffer(embedding, "<f2"),
        )
        for (
            detection_id,
            frame,
            observation_id,
            reviewed,
            captured_at,
            frame_ms,
            flank,
            quality,
            x,
            y,
            crop,
            embedding,
        ) in rows
    ]


def clear_observations(store: Store, event_id: str) -> None:
    """Takes back what the machine suggested; what a person reviewed stays."""
    store.execute(
        "UPDATE detection SET observation_id = NULL WHERE event_id = ? "
        "AND observation_id NOT IN (SELECT observation_id FROM review)",
        (event_id,),
    )
    store.execute(
        "DELETE FROM observation WHERE event_id = ? "
        "AND observation_id NOT IN (SELECT observation_id FROM review)",
        (event_id,),
    )


def add_observation(store: Store, observation: NewObservation) -> None:
    nearest, thresholds = observation.nearest, observation.thresholds
    store.execute(
        "INSERT INTO observation (observation_id, event_id, decision, individual_id, num_frames, "
        "num_usable, best_individual_id, best_similarity, runner_up_id, runner_up_similarity, "
        "statistic, statistic_value, probability, match_threshold, new_threshold, "
        "threshold_source, model, encoder_id, decided_at) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            observation.observation_id,
            observation.event_id,
            observation.decision,
            observation.individual_id,
            observation.num_frames,
            observation.num_usable,
            nearest.best_id,
            nearest.best_similarity,
            nearest.runner_up_id,
            nearest.runner_up_similarity,
            thresholds.statistic if thresholds else None,
            observation.statistic_value,
            observation.probability,
            thresholds.match if thresholds else None,
            thresholds.new if thresholds else None,
            thresholds.source if thresholds else None,
            observation.model,
            observation.encoder_id,
            now(),
        ),
    )


def set_nearest(store: Store, detection_id: str, observation_id: str, nearest: Nearest) -> None:
    store.execute(
        "UPDATE detection SET observation_id = ?, best_individual_id = ?, best_similarity = ?, "
        "runner_up_id = ?, runner_up_similarity = ? WHERE detection_id = ?",
        (
            observation_id,
            nearest.best_id,
            nearest.best_similarity,
            nearest.runner_up_id,
            nearest.runner_up_similarity,
            detection_id,
        ),
    )
