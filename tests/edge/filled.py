"""A state folder full of rows, made without pictures."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import numpy as np

from edge.detect import Box
from edge.gallery import curate
from edge.gallery.curate import NewExemplar
from edge.intake.inbox import FoundFile
from edge.record import store_events, store_log, store_media
from edge.record.store import Store, now
from edge.record.store_events import Nearest, NewDetection, NewObservation
from edge.record.store_media import Outcome

WHOLE = Box(x=0.0, y=0.0, width=1.0, height=1.0, relative=True)
START = datetime(2026, 5, 1, 6, 0, 0)


def found(number: int, folder: str = "cam1") -> FoundFile:
    relative = f"{folder}/{number:05}.jpg"
    return FoundFile(
        path=f"/inbox/{relative}",
        relative=relative,
        num_bytes=1000 + number,
        mtime_ns=10**18 + number,
        problem=None,
    )


def sha_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def outcome(number: int) -> Outcome:
    return Outcome(
        kind="image",
        width=640,
        height=480,
        num_frames=None,
        duration_seconds=None,
        captured_at=START + timedelta(minutes=10 * number),
        camera_time=START + timedelta(minutes=10 * number),
        time_source="exif",
        utc_offset_minutes=120,
        latitude=None,
        longitude=None,
        camera="S123",
        damage=None,
        observation_type="animal",
    )


def claim(store: Store, *numbers: int, clock_trusted: bool | None = True) -> None:
    with store.transaction():
        for one in numbers:
            store_media.claim(store, sha_of(one), [found(one)], "boot", clock_trusted)


def record(store: Store, *numbers: int) -> None:
    """One animal a picture, an event each."""
    embedding = np.random.default_rng(1).standard_normal(64).astype(np.float16)
    with store.transaction():
        for one in numbers:
            when = outcome(one).captured_at
            store_media.finish(store, sha_of(one), outcome(one))
            detection = NewDetection(
                detection_id=f"detection {one:05}",
                sha256=sha_of(one),
                frame_ms=None,
                observation_type="animal",
                box=WHOLE,
                confidence=None,
                usable=True,
                quality=None,
                embedding=embedding,
                encoder_id="e" * 64,
                crop=sha_of(-one),
            )
            store_events.add_detection(store, detection)
            store_events.put_event(store, f"event {one:05}", "cam1", when, when)
            store_events.join_event(store, f"event {one:05}", detection.detection_id)
            nearest = Nearest(
                best_id=None, best_similarity=None, runner_up_id=None, runner_up_similarity=None
            )
            observation = NewObservation(
                observation_id=f"observation {one:05}",
                event_id=f"event {one:05}",
                decision="review",
                individual_id=None,
                num_frames=1,
                num_usable=1,
                nearest=nearest,
                statistic_value=None,
                probability=None,
                thresholds=None,
                model="tiny",
                encoder_id="e" * 64,
            )
            store_events.add_observation(store, observation)
            store_events.set_nearest(
                store, detection.detection_id, observation.observation_id, nearest
            )


def review(store: Store, *numbers: int) -> None:
    with store.transaction():
        for one in numbers:
            store.execute(
                "INSERT INTO review (review_id, observation_id, verdict, comment, reviewed_at) "
                "VALUES (?, ?, 'match', ?, ?)",
                (f"review {one:05}", f"observation {one:05}", f"said of {one}", now()),
            )


def enroll(store: Store, name: str, *numbers: int) -> None:
    exemplars = [
        NewExemplar(
            sha256=sha_of(one),
            display=found(one).display,
            box=WHOLE,
            flank="left",
            encounter=None,
            captured_at=None,
            crop=sha_of(-one),
            observation_id=None,
            embedding=np.ones(64, np.float16),
            encoder_id="e" * 64,
        )
        for one in numbers
    ]
    with store.transaction(), store_log.editing(store, "tester") as editor:
        curate.enrol(editor, None, name, provisional=False, exemplars=exemplars)


def fill(store: Store, num_media: int) -> None:
    numbers = range(num_media)
    claim(store, *numbers)
    record(store, *numbers)
    review(store, *range(0, num_media, 5))
    enroll(store, "Amba", *range(0, num_media, 10))
