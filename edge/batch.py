"""One batch of files on its way: read, claimed, decoded, embedded, recorded, disposed of.

A crash at any point loses nothing and counts nothing twice: a medium is claimed before it is
decoded, everything learned of it is recorded in one transaction, and its file is touched only
after that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from edge import media, quality, sightings, store_events, store_media
from edge.archive import dispose
from edge.config import After
from edge.crops import Cut, cut
from edge.detect import WHOLE_FRAME_ANIMAL, BoxesFile, FoundObject, ObservationType
from edge.encoder import Encoder
from edge.errors import MediaError
from edge.inbox import FoundFile, read_file
from edge.media import Frame
from edge.sightings import Arrival, Judge
from edge.state import StateFolder, crop_name, write_crops
from edge.store import Store, new_id
from edge.store_events import NewDetection
from edge.store_media import Outcome

MAX_MEDIA = 32
_MAX_BYTES = 64 * 1024 * 1024  # of files held in memory at once; one file may be as large


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What every batch goes through."""

    state: StateFolder
    store: Store
    encoder: Encoder
    judge: Judge
    boxes: BoxesFile | None  # None: the whole frame is one animal
    after: After


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    finished: list[FoundFile]  # not to be handed out again unless they change
    events: list[str]  # touched by this batch
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class _Medium:
    sha256: str
    data: bytes
    files: list[FoundFile]  # the names it has in this batch


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One object in a decoded medium; `cut` only of animals."""

    found: FoundObject
    cut: Cut | None


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    medium: _Medium
    outcome: Outcome
    objects: list[_Seen]
    in_boxes_file: bool


def run_batch(pipeline: Pipeline, files: Sequence[FoundFile]) -> BatchResult:
    """Takes the files through to their record; those still being written are left for later."""
    result = BatchResult(finished=[], events=[])
    claimed, known = _claim(pipeline, _read(pipeline, files, result), result)
    decoded = _decode_all(pipeline, claimed, result)
    _record(pipeline, decoded, result)
    _dispose(pipeline, [*known, *(one.medium for one in decoded)])
    return result


def take_batch(files: Sequence[FoundFile], num_media: int) -> list[FoundFile]:
    """The next files, as many as fit into memory; at least one."""
    batch: list[FoundFile] = []
    for file in files[:num_media]:
        if batch and sum(one.num_bytes for one in batch) + file.num_bytes > _MAX_BYTES:
            break
        batch.append(file)
    return batch


def put_aside(pipeline: Pipeline, file: FoundFile, error: MediaError) -> None:
    """Records a file that could not even be read."""
    with pipeline.store.transaction():
        store_media.add_quarantine(pipeline.store, file, None, error.reason, error.detail)


def _read(
    pipeline: Pipeline, files: Sequence[FoundFile], result: BatchResult
) -> dict[str, _Medium]:
    media_of: dict[str, _Medium] = {}
    for file in files:
        try:
            data = read_file(file)
        except MediaError as error:
            put_aside(pipeline, file, error)
            result.counts["quarantined"] += 1
            result.finished.append(file)
            continue
        if data is None:
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        medium = media_of.setdefault(sha256, _Medium(sha256=sha256, data=data, files=[]))
        medium.files.append(file)
        result.finished.append(file)
    return media_of


def _claim(
    pipeline: Pipeline, media_of: dict[str, _Medium], result: BatchResult
) -> tuple[list[_Medium], list[_Medium]]:
    """(to be decoded, done before under another name)."""
    claimed: list[_Medium] = []
    known: list[_Medium] = []
    if not media_of:
        return claimed, known
    with pipeline.store.transaction():
        for medium in media_of.values():
            state = store_media.claim(pipeline.store, medium.sha256, medium.files)
            if state == "claimed":
                claimed.append(medium)
                result.counts["copies"] += len(medium.files) - 1
            elif state == "done":
                known.append(medium)
                result.counts["copies"] += len(medium.files)
            else:
                result.counts["quarantined"] += len(medium.files)
    return claimed, known


def _decode_all(pipeline: Pipeline, claimed: list[_Medium], result: BatchResult) -> list[_Decoded]:
    decoded: list[_Decoded] = []
    for medium in claimed:
        try:
            decoded.append(_decode(pipeline, medium))
        except MediaError as error:
            with pipeline.store.transaction():
                store_media.quarantine(
                    pipeline.store, medium.sha256, medium.files, error.reason, error.detail
                )
            result.counts["quarantined"] += len(medium.files)
    return decoded


def _decode(pipeline: Pipeline, medium: _Medium) -> _Decoded:
    frame = media.decode(medium.data)
    found = _find_objects(pipeline.boxes, medium.files)
    spec = pipeline.encoder.manifest.input
    objects = [
        _Seen(
            found=one,
            # No crop is kept of a person, nor of what may be one.
            cut=(cut(frame.image_HWC, one.box, spec) if one.observation_type == "animal" else None),
        )
        for one in found or []
    ]
    return _Decoded(
        medium=medium,
        outcome=_outcome(frame, medium.files[0], found),
        objects=objects,
        in_boxes_file=found is not None,
    )


def _find_objects(boxes: BoxesFile | None, files: list[FoundFile]) -> list[FoundObject] | None:
    """None where the boxes file knows none of the medium's names."""
    if boxes is None:
        return [WHOLE_FRAME_ANIMAL]
    for file in files:
        found = boxes.find(file.relative)
        if found is not None:
            return found
    return None


def _outcome(frame: Frame, file: FoundFile, found: list[FoundObject] | None) -> Outcome:
    height, width = frame.image_HWC.shape[:2]
    return Outcome(
        width=width,
        height=height,
        captured_at=frame.captured_at or datetime.fromtimestamp(file.mtime_ns / 1e9),
        time_source="mtime" if frame.captured_at is None else "exif",
        observation_type=_observation_type(found),
    )


def _observation_type(found: list[FoundObject] | None) -> ObservationType:
    if found is None:
        return "unclassified"
    kinds = {one.observation_type for one in found}
    order: tuple[ObservationType, ...] = ("animal", "human", "vehicle", "unclassified")
    return next((kind for kind in order if kind in kinds), "blank")


def _record(pipeline: Pipeline, decoded: list[_Decoded], result: BatchResult) -> None:
    """The crops first, so that no record ever names a crop that is not there."""
    if not decoded:
        return
    detections = _detections(pipeline.encoder, decoded)
    cuts = [seen.cut for one in decoded for seen in one.objects if seen.cut]
    write_crops(pipeline.state, [one.jpeg for one in cuts])
    arrivals: list[Arrival] = []
    with pipeline.store.transaction():
        for one in decoded:
            store_media.finish(pipeline.store, one.medium.sha256, one.outcome)
            result.counts["frames"] += 1
            result.counts[one.outcome.observation_type] += 1
            result.counts["not in boxes"] += not one.in_boxes_file
            result.counts["file time"] += one.outcome.time_source == "mtime"
        for owner, detection in detections:
            store_events.add_detection(pipeline.store, detection)
            if detection.observation_type == "animal":
                arrivals.append(
                    Arrival(
                        detection_id=detection.detection_id,
                        sha256=detection.sha256,
                        deployment_id=owner.medium.files[0].deployment_id,
                        captured_at=owner.outcome.captured_at,
                        time_source=owner.outcome.time_source,
                    )
                )
        result.events.extend(sightings.join_events(pipeline.store, pipeline.judge, arrivals))


def _detections(encoder: Encoder, decoded: list[_Decoded]) -> list[tuple[_Decoded, NewDetection]]:
    """Every object with its embedding, where it is an animal large enough to have one."""
    pairs = [(one, seen) for one in decoded for seen in one.objects]
    embeddable = [seen.cut.encoder_HWC for _, seen in pairs if seen.cut and seen.cut.usable]
    spec = encoder.manifest.input
    images_NHWC = (
        np.stack(embeddable) if embeddable else np.zeros((0, spec.height, spec.width, 3), np.uint8)
    )
    embeddings = iter(encoder.embed(images_NHWC).astype(np.float16))
    found: list[tuple[_Decoded, NewDetection]] = []
    for owner, seen in pairs:
        usable = seen.cut is not None and seen.cut.usable
        found.append(
            (
                owner,
                NewDetection(
                    detection_id=new_id(),
                    sha256=owner.medium.sha256,
                    observation_type=seen.found.observation_type,
                    box=seen.found.box,
                    confidence=seen.found.confidence,
                    usable=usable,
                    quality=_quality(seen),
                    embedding=next(embeddings) if usable else None,
                    encoder_id=encoder.manifest.encoder_id if usable else None,
                    crop=crop_name(seen.cut.jpeg) if seen.cut else None,
                ),
            )
        )
    return found


def _quality(seen: _Seen) -> float | None:
    if seen.cut is None:
        return None
    return quality.score(seen.cut.quality, seen.found.confidence, damaged=False)


def _dispose(pipeline: Pipeline, recorded: list[_Medium]) -> None:
    dispose_files(pipeline, [(file, medium.sha256) for medium in recorded for file in medium.files])


def dispose_files(pipeline: Pipeline, files: Sequence[tuple[FoundFile, str]]) -> None:
    """Moves or deletes files whose media are done, and notes where they went."""
    if pipeline.after is After.keep:
        return
    gone: list[tuple[FoundFile, str, str]] = []
    for file, sha256 in files:
        key = store_media.archive_key(pipeline.store, sha256)
        disposed_to = dispose(pipeline.state, file, key, pipeline.after)
        if disposed_to is not None:
            gone.append((file, sha256, disposed_to))
    if gone:
        with pipeline.store.transaction():
            for file, sha256, disposed_to in gone:
                store_media.set_disposed(pipeline.store, file, sha256, disposed_to)
