"""What reports read from the database: rows by column name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edge.record.store import Store

MEDIA_COLUMNS = (
    "file_path",
    "sha256",
    "timestamp",
    "deployment_id",
    "event_id",
    "detection_id",
    "best_individual",
    "best_name",
    "best_similarity",
    "runner_up",
    "runner_up_name",
    "runner_up_similarity",
    "decision",
    "encoder_id",
    "observation_type",
    "observation_id",
    "x",
    "y",
    "width",
    "height",
    "confidence",
    "usable",
    "time_source",
    "state",
    "reason",
    "note",
    "disposed_to",
    "kind",
    "frame_ms",
    "damage",
    "utc_offset_minutes",
    "latitude",
    "longitude",
    "camera",
    "clock_trusted",
    "camera_time",
    "location_id",
    "location_name",
    "crop",
)
EVENT_COLUMNS = (
    "event_id",
    "deployment_id",
    "start",
    "end",
    "num_frames",
    "decision",
    "individual_id",
    "name",
    "similarity",
    "runner_up",
    "runner_up_name",
    "runner_up_similarity",
    "observation_id",
    "statistic",
    "statistic_value",
    "match_threshold",
    "new_threshold",
    "threshold_source",
    "model",
    "encoder_id",
    "probability",
    "provisional",
    "nearest",
    "nearest_name",
    "verdict",
    "verdict_name",
    "said_by",
    "said_at",
    "location_id",
    "location_name",
    "latitude",
    "longitude",
)

# One row a detection and path; a picture without detections has one row with empty ones.
_USABLE_MEDIA = """
SELECT display, sha256, captured_at, media.deployment_id, detection.event_id, detection_id,
    detection.best_individual_id, best.name, detection.best_similarity,
    detection.runner_up_id, runner_up.name, detection.runner_up_similarity,
    decision, detection.encoder_id, coalesce(detection.observation_type, media.observation_type),
    observation_id, x, y, detection.width, detection.height, confidence, usable,
    time_source, state, NULL, note, disposed_to, kind, frame_ms, damage, utc_offset_minutes,
    coalesce(media.latitude, deployment.latitude),
    coalesce(media.longitude, deployment.longitude), camera, clock_trusted, camera_time,
    location_id, location_name, crop
FROM media_path JOIN media USING (sha256) JOIN deployment USING (deployment_id)
    LEFT JOIN detection USING (sha256) LEFT JOIN observation USING (observation_id)
    LEFT JOIN individual AS best ON best.individual_id = detection.best_individual_id
    LEFT JOIN individual AS runner_up ON runner_up.individual_id = detection.runner_up_id
WHERE state <> 'quarantined' ORDER BY media.deployment_id, captured_at, display, frame_ms, x, y
"""
_QUARANTINED = """
SELECT display, sha256, NULL, deployment_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    'quarantined', reason, note, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL
FROM quarantine ORDER BY deployment_id, display, quarantined_at
"""
# `who` is the animal the sighting is said to show: a person's word, else the machine's proposal
# unless a person rejected it; of a merged animal the one it went into. The similarity stays that
# of the nearest animal.
_EVENTS = """
SELECT event_id, deployment_id, start_at, end_at, num_frames, decision,
    who.individual_id, who.name, best_similarity, runner_up_id, runner_up.name,
    runner_up_similarity, observation_id, statistic, statistic_value, match_threshold,
    new_threshold, threshold_source, model, encoder_id, probability, who.provisional,
    best.current_id, best.name, verdict, named.name, said.who, said_at, location_id, location_name,
    latitude, longitude
FROM observation JOIN event USING (event_id) JOIN deployment USING (deployment_id)
    LEFT JOIN said USING (observation_id)
    LEFT JOIN individual AS proposed ON proposed.individual_id =
        iif(decision = 'new', observation.individual_id, best_individual_id)
    LEFT JOIN individual AS named ON named.individual_id = said.individual_id
    LEFT JOIN individual AS who ON who.individual_id = CASE
        WHEN verdict IN ('confirm', 'assign') THEN named.current_id
        WHEN verdict = 'reject' AND proposed.current_id = named.current_id THEN NULL
        ELSE proposed.current_id END
    LEFT JOIN individual AS best ON best.individual_id = best_individual_id
    LEFT JOIN individual AS runner_up ON runner_up.individual_id = runner_up_id
"""

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class QuarantineRow:
    display: str
    reason: str
    detail: str
    note: str | None  # 'name-not-utf8'
    deployment_id: str
    num_bytes: int
    sha256: str | None  # None: it could not be read
    quarantined_at: str


@dataclass(frozen=True, kw_only=True)
class CropRow:
    crop: str
    display: str
    taken_at: str | None


@dataclass(frozen=True, kw_only=True)
class Totals:
    num_media: int
    num_quarantined: int


def media_rows(store: Store) -> Iterator[Record]:
    for sql in (_USABLE_MEDIA, _QUARANTINED):
        for row in store.execute(sql):
            yield dict(zip(MEDIA_COLUMNS, row, strict=True))


def event_rows(store: Store, event_id: str | None = None) -> Iterator[Record]:
    """One row an animal and event, in order of time; of one event, where one is named."""
    chosen = "" if event_id is None else "WHERE event_id = ? "
    order = "ORDER BY start_at, deployment_id, event_id, observation_id"
    rows = store.execute(_EVENTS + chosen + order, () if event_id is None else (event_id,))
    for row in rows:
        yield dict(zip(EVENT_COLUMNS, row, strict=True))


def quarantine_rows(store: Store) -> list[QuarantineRow]:
    rows = store.execute(
        "SELECT display, reason, detail, note, deployment_id, num_bytes, sha256, quarantined_at "
        "FROM quarantine ORDER BY quarantined_at, display"
    )
    return [
        QuarantineRow(
            display=display,
            reason=reason,
            detail=detail,
            note=note,
            deployment_id=deployment_id,
            num_bytes=num_bytes,
            sha256=sha256,
            quarantined_at=at,
        )
        for display, reason, detail, note, deployment_id, num_bytes, sha256, at in rows
    ]


def totals(store: Store) -> Totals:
    return Totals(
        num_media=store.execute("SELECT count(*) FROM media WHERE state = 'done'")[0][0],
        num_quarantined=store.execute("SELECT count(*) FROM quarantine")[0][0],
    )


def observation_crops(store: Store, observation_id: str, limit: int) -> list[CropRow]:
    """The crops an observation was decided on, the one most like its best individual first."""
    rows = store.execute(
        "SELECT crop, min(display), captured_at FROM detection JOIN media USING (sha256) "
        "JOIN media_path USING (sha256) WHERE observation_id = ? AND crop IS NOT NULL "
        "GROUP BY detection_id ORDER BY best_similarity DESC, captured_at LIMIT ?",
        (observation_id, limit),
    )
    return [CropRow(crop=crop, display=display, taken_at=at) for crop, display, at in rows]


def exemplar_crops(store: Store, individual_id: str, limit: int) -> list[CropRow]:
    """Pictures of the animal an id stands for today; of one the device minted, its first frames."""
    rows = store.execute(
        "SELECT crop, display, captured_at FROM exemplar WHERE individual_id = "
        "(SELECT current_id FROM individual WHERE individual_id = ?) ORDER BY exemplar_id LIMIT ?",
        (individual_id, limit),
    ) or store.execute(
        "SELECT crop, min(display), captured_at FROM observation "
        "JOIN individual USING (individual_id) JOIN detection USING (observation_id) "
        "JOIN media USING (sha256) JOIN media_path USING (sha256) "
        "WHERE decision = 'new' AND crop IS NOT NULL AND current_id = "
        "(SELECT current_id FROM individual WHERE individual_id = ?) "
        "GROUP BY detection_id ORDER BY captured_at, detection_id LIMIT ?",
        (individual_id, limit),
    )
    return [CropRow(crop=crop, display=display, taken_at=at) for crop, display, at in rows]


def models_used(store: Store) -> list[tuple[str, str]]:
    """(model, encoder_id) behind the observations, the latest first."""
    rows = store.execute(
        "SELECT model, encoder_id FROM observation GROUP BY model, encoder_id "
        "ORDER BY max(decided_at) DESC"
    )
    return [(model, encoder_id) for model, encoder_id in rows]
