"""One animal in one event, as a person speaks about it: found by its id, with its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.pictures import Flank
from edge.record.store import Store


@dataclass(frozen=True, kw_only=True)
class Observation:
    observation_id: str
    event_id: str
    decision: str
    proposed_id: str | None  # who the device says it is: the new animal, else the nearest one


@dataclass(frozen=True, kw_only=True)
class ObservedCrop:
    """A usable picture of an observation that can become an exemplar."""

    detection_id: str
    sha256: str
    display: str
    box: tuple[float, float, float, float]  # relative
    flank: Flank
    captured_at: str | None  # None where only the file's time is known
    crop: str
    embedding: NDArray[np.float16]
    encoder_id: str


@dataclass(frozen=True, kw_only=True)
class DetectionCrop:
    detection_id: str
    crop: str


def find(store: Store, reference: str) -> list[Observation]:
    """The observations whose id, or whose event's id, is, begins or ends with `reference`."""
    rows = store.execute(
        "SELECT observation_id, event_id, decision, "
        "iif(decision = 'new', individual_id, best_individual_id) FROM observation "
        "WHERE ?1 IN (observation_id, event_id) "
        "OR substr(observation_id, 1, length(?1)) = ?1 OR substr(observation_id, -length(?1)) = ?1 "
        "OR substr(event_id, 1, length(?1)) = ?1 OR substr(event_id, -length(?1)) = ?1 "
        "ORDER BY observation_id",
        (reference,),
    )
    return [
        Observation(
            observation_id=observation_id,
            event_id=event_id,
            decision=decision,
            proposed_id=proposed_id,
        )
        for observation_id, event_id, decision, proposed_id in rows
    ]


def crops(store: Store, observation_id: str) -> list[ObservedCrop]:
    rows = store.execute(
        "SELECT detection_id, sha256, (SELECT min(display) FROM media_path WHERE "
        "media_path.sha256 = detection.sha256), x, y, detection.width, detection.height, flank, "
        "iif(time_source = 'mtime', NULL, captured_at), crop, embedding, encoder_id "
        "FROM detection JOIN media USING (sha256) WHERE observation_id = ? AND usable = 1 "
        "AND embedding IS NOT NULL AND crop IS NOT NULL ORDER BY captured_at, detection_id",
        (observation_id,),
    )
    return [
        ObservedCrop(
            detection_id=row[0],
            sha256=row[1],
            display=row[2] or row[1],
            box=(row[3], row[4], row[5], row[6]),
            flank=row[7],
            captured_at=row[8],
            crop=row[9],
            embedding=np.frombuffer(row[10], "<f2"),
            encoder_id=row[11],
        )
        for row in rows
    ]


def unreviewed_crops(store: Store, encoder_id: str) -> list[DetectionCrop]:
    """Detections nobody has spoken about that this encoder has not embedded yet."""
    rows = store.execute(
        "SELECT detection_id, crop FROM detection WHERE embedding IS NOT NULL AND crop IS NOT NULL "
        "AND encoder_id <> ?1 AND NOT EXISTS (SELECT 1 FROM detection_embedding AS other "
        "WHERE other.detection_id = detection.detection_id AND other.encoder_id = ?1) "
        "AND NOT EXISTS (SELECT 1 FROM review "
        "WHERE review.observation_id = detection.observation_id) ORDER BY detection_id",
        (encoder_id,),
    )
    return [DetectionCrop(detection_id=detection_id, crop=crop) for detection_id, crop in rows]


def add_detection_embeddings(
    store: Store,
    encoder_id: str,
    detections: Sequence[DetectionCrop],
    embeddings_ND: NDArray[np.float16],
) -> None:
    store.execute_many(
        "INSERT OR REPLACE INTO detection_embedding (detection_id, encoder_id, embedding) "
        "VALUES (?, ?, ?)",
        (
            (one.detection_id, encoder_id, emb_D.astype("<f2").tobytes())
            for one, emb_D in zip(detections, embeddings_ND, strict=True)
        ),
    )
