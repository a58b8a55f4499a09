"""One batch of files on its way: read, claimed, decoded, recorded, disposed of.

A crash at any point loses nothing and counts nothing twice: a medium is claimed before it is
decoded, everything learned of it is recorded in one transaction, and its file is touched only
after that. A batch has two halves, so that the next one is decoded while this one is recorded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from edge.config import After
from edge.detect import People
from edge.errors import MediaError
from edge.intake.inbox import FoundFile
from edge.record import store_archive, store_media
from edge.record.archive import dispose
from edge.watch.looking import Awaited, begin_looking, finish_looking
from edge.watch.pipeline import Medium, Pipeline
from edge.watch.recording import Learned, record

MAX_MEDIA = 32
_MAX_BYTES = 32 * 1024 * 1024  # of a batch's files in memory; only a clip may be larger


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    finished: list[FoundFile]  # not to be handed out again unless they change
    events: list[str]  # touched by this batch
    held: list[Learned]  # still claimed: for the next batch to complete
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A batch that is claimed and being decoded."""

    result: BatchResult
    known: list[Medium]  # done before under another name
    decoding: list[Awaited]

    @property
    def claimed(self) -> list[str]:
        return [one.medium.sha256 for one in self.decoding]


def take_batch(files: Sequence[FoundFile], start: int, num_media: int) -> list[FoundFile]:
    """The next files from `start` on, as many as fit into memory; at least one. A clip goes alone.

    A clip takes as long as many pictures, and these are not kept waiting for it.
    """
    batch: list[FoundFile] = []
    for file in files[start : start + num_media]:
        too_much = sum(one.num_bytes for one in batch) + file.num_bytes > _MAX_BYTES
        if batch and (too_much or file.is_clip):
            break
        batch.append(file)
        if file.is_clip:
            break
    return batch


def is_large(batch: Sequence[FoundFile]) -> bool:
    """A clip so large that nothing else should be in memory beside it."""
    return sum(one.num_bytes for one in batch) > _MAX_BYTES


def begin(pipeline: Pipeline, files: Sequence[FoundFile], in_hand: Collection[str]) -> Begun:
    """Reads and claims the files and has them decoded; those still being written are left.

    So are the copies of media that are `in_hand`, by their sha256: what becomes of these is known
    when they are recorded.
    """
    result = BatchResult(finished=[], events=[], held=[])
    media_of = _read(pipeline, files, result)
    _leave_for_later(result, [media_of.pop(one) for one in in_hand if one in media_of])
    claimed, known = _claim(pipeline, media_of, result)
    pipeline.beat()
    return Begun(
        result=result,
        known=known,
        decoding=[begin_looking(pipeline, medium) for medium in claimed],
    )


def complete(
    pipeline: Pipeline,
    begun: Begun,
    held: Sequence[Learned] = (),
    following: Sequence[FoundFile] = (),
) -> BatchResult:
    """Waits for the pixels, records what they show, disposes of the files.

    `held` is what the batch before left to this one, `following` the batch that comes next.
    """
    result = begun.result
    goes_on = following[0].deployment_id if following else None
    looked = finish_looking(pipeline, begun.decoding, held, goes_on)
    _leave_for_later(result, [one.medium for one in looked.held])
    result.finished.extend(file for one in held for file in one.medium.files)
    result.held.extend(looked.held)
    recorded = record(pipeline, looked.learned, looked.refused, result.counts)
    result.events.extend(recorded.events)
    _leave_for_later(result, recorded.again)
    pipeline.beat()
    dispose_files(
        pipeline,
        [
            (file, medium.sha256)
            for medium in [*begun.known, *(one.medium for one in looked.learned)]
            for file in medium.files
        ],
    )
    return result


def put_aside(pipeline: Pipeline, file: FoundFile, error: MediaError) -> None:
    """Records a file that could not even be read."""
    with pipeline.store.transaction():
        store_media.add_quarantine(pipeline.store, file, None, error.reason, error.detail)
    pipeline.health.count_quarantined(error.reason)


def dispose_files(pipeline: Pipeline, files: Sequence[tuple[FoundFile, str]]) -> None:
    """Moves or deletes files whose media are done, and notes where they went.

    A picture of people is not moved into the state folder unless it may keep them. The notes go
    with the next batch's claim: a transaction of their own would cost a card as much as the record
    itself.
    """
    if pipeline.after is After.keep:
        return
    for file, sha256 in files:
        if _must_stay(pipeline, sha256):
            continue
        key = store_archive.archive_key(pipeline.store, sha256)
        disposed_to = dispose(pipeline.state, file, key, pipeline.after)
        if disposed_to is not None:
            store_archive.set_disposed(pipeline.store, file, sha256, disposed_to)


def _must_stay(pipeline: Pipeline, sha256: str) -> bool:
    may_hold_people = pipeline.people is People.keep or pipeline.after is not After.move
    return not may_hold_people and store_media.shows_people(pipeline.store, sha256)


def _read(pipeline: Pipeline, files: Sequence[FoundFile], result: BatchResult) -> dict[str, Medium]:
    media_of: dict[str, Medium] = {}
    for file in files:
        try:
            data = pipeline.inbox.read(file)
        except MediaError as error:
            put_aside(pipeline, file, error)
            result.counts["quarantined"] += 1
            result.finished.append(file)
            continue
        if data is None:
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        medium = media_of.setdefault(sha256, Medium(sha256=sha256, data=data, files=[]))
        medium.files.append(file)
        result.finished.append(file)
    return media_of


def _claim(
    pipeline: Pipeline, media_of: dict[str, Medium], result: BatchResult
) -> tuple[list[Medium], list[Medium]]:
    """(to be decoded, done before under another name)."""
    claimed: list[Medium] = []
    known: list[Medium] = []
    if not media_of:
        return claimed, known
    clock = pipeline.clock.read()
    with pipeline.store.transaction():
        for medium in media_of.values():
            state = store_media.claim(
                pipeline.store, medium.sha256, medium.files, clock.boot_id, clock.trusted
            )
            if state == "claimed":
                claimed.append(medium)
                result.counts["copies"] += len(medium.files) - 1
            elif state == "done":
                known.append(medium)
                result.counts["copies"] += len(medium.files)
            else:
                result.counts["quarantined"] += len(medium.files)
    return claimed, known


def _leave_for_later(result: BatchResult, again: list[Medium]) -> None:
    """They stay claimed with an attempt counted."""
    paths = {file.path for medium in again for file in medium.files}
    result.finished[:] = [file for file in result.finished if file.path not in paths]
