"""edge-watch from its settings to its last line: what it needs is opened, run, and closed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.commands.common import place_in, require_installed
from edge.compute.opening import open_here
from edge.config import MOTION, After, Settings
from edge.decoding.guard import DecodePool
from edge.detection.boxes_file import BoxesFile
from edge.encoder import Encoder
from edge.errors import ConfigError, InputError
from edge.gallery.gallery import Gallery, explain, open_gallery
from edge.identity import lights
from edge.identity.fitted import kept_thresholds
from edge.identity.sightings import Judge
from edge.intake.inbox import Inbox
from edge.operation.clock import Clock
from edge.operation.logs import Log
from edge.operation.operation import Operation, operated
from edge.record.restore import open_checked
from edge.record.state import StateFolder, locked
from edge.record.stock import take_stock
from edge.record.store import DECISIONS_KEY, Store, put_meta
from edge.record.store_deployments import put_deployments
from edge.text import counted, printable
from edge.watch.deployments import read_deployments
from edge.watch.embedding import EmbeddingDecoders
from edge.watch.finder import Finder, open_finder
from edge.watch.lines import others_line, summary_line
from edge.watch.motion_finder import MotionFinder
from edge.watch.pipeline import Pipeline
from edge.watch.provider import tell_provider
from edge.watch.signals import stopped_by_signals
from edge.watch.taken import NamePattern, Times
from edge.watch.watch import Watch


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What the user named."""

    inbox: Inbox
    boxes: BoxesFile | None
    finder: Finder | None
    encoder: Encoder
    times: Times


def run(inbox: Path, folder: StateFolder, settings: Settings, *, once: bool) -> None:
    """Until it is stopped, or with `once` until the inbox is done."""
    log = Log(settings.log, time.monotonic)
    _require_apart(inbox, folder)
    # A name mistyped makes no state folder; where there is one, its health tells of the fault.
    given = None if folder.root.is_dir() else _open_given(inbox, folder, settings, log)
    with (
        stopped_by_signals() as stop,
        locked(folder),
        operated(folder, settings, inbox, log) as operation,
    ):
        given = given or _open_given(inbox, folder, settings, log)
        with _opened(given, folder, settings, operation) as pipeline:
            watching = Watch(pipeline, settings, operation, stop.asked)
            operation.ready()
            if once:
                watching.run_once()
            else:
                watching.run_until_stopped()
            _sum_up(watching, inbox, log, once)
    if stop.is_interrupted:
        raise KeyboardInterrupt


def _open_given(inbox: Path, folder: StateFolder, settings: Settings, log: Log) -> _Given:
    """Raises the FanclError of what is not there or not right."""
    place = place_in(
        folder,
        settings.provider,
        settings.num_threads or _num_cores(),
        lambda told: log.warn("model", told),
    )
    return _Given(
        inbox=Inbox(inbox, settings.settle_seconds, settings.max_wait_seconds),
        boxes=BoxesFile(settings.boxes, settings.min_confidence) if settings.boxes else None,
        finder=_open_finder(settings),
        encoder=open_here(settings.model or require_installed(folder), place),
        times=_read_times(settings),
    )


def _read_times(settings: Settings) -> Times:
    pattern = settings.time_from_name
    return Times(
        deployments=read_deployments(settings.deployments) if settings.deployments else {},
        name_pattern=NamePattern(pattern) if pattern else None,
    )


def _open_finder(settings: Settings) -> Finder | None:
    if settings.detector is None:
        return None
    if settings.boxes is not None:
        raise ConfigError(
            f"boxes come either from the file {settings.boxes} (`boxes`) or from the detector "
            f"{settings.detector} (`detector`): leave one of them away"
        )
    if settings.detector == MOTION:
        return None  # it lives in the database, which is not open yet
    return open_finder(settings.detector, settings.num_threads or None)


def _motion(settings: Settings, store: Store) -> Finder | None:
    return MotionFinder(store) if settings.detector == MOTION else None


@contextmanager
def _opened(
    given: _Given, folder: StateFolder, settings: Settings, operation: Operation
) -> Iterator[Pipeline]:
    """Everything a picture goes through."""
    store, told = open_checked(folder)
    try:
        if told:
            operation.log.warn("database", told)
        if settings.after is After.move:
            lost = take_stock(store, folder, given.inbox.root).sentence
            if lost:
                operation.log.warn("archive", lost)
        operation.health.measured(
            model_name=given.encoder.manifest.name,
            encoder_id=given.encoder.manifest.encoder_id,
            is_database_intact=True,
        )
        tell_provider(given.encoder, operation)
        if given.times.deployments:
            with store.transaction():
                put_deployments(store, given.times.deployments.values())
        if settings.detector is not None:
            operation.log(f"detector: {printable(settings.detector.name)}")
        judge = _judge(store, given.encoder, settings, operation.log)
        with DecodePool(
            settings.num_decoders or _num_cores(),
            num_threads=settings.num_threads or _num_cores(),
        ) as decoders:
            yield Pipeline(
                inbox=given.inbox,
                state=folder,
                store=store,
                encoder=given.encoder,
                decoders=EmbeddingDecoders(decoders, given.encoder, operation.health),
                judge=judge,
                boxes=given.boxes,
                finder=given.finder or _motion(settings, store),
                people=settings.people,
                times=given.times,
                after=settings.after,
                clock=Clock(),
                health=operation.health,
                beat=operation.beat,
            )
    finally:
        store.close()


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _require_apart(inbox: Path, folder: StateFolder) -> None:
    if folder.root.resolve().is_relative_to(inbox.resolve()):
        raise InputError(
            f"the state folder {folder.root} lies inside the inbox {inbox}, so its own crops would "
            "be taken for new pictures; give another folder with --state DIR"
        )


def _judge(store: Store, encoder: Encoder, settings: Settings, log: Log) -> Judge:
    manifest = encoder.manifest
    lights.look_at_exemplars(store)
    known = open_gallery(store, manifest)
    thresholds = kept_thresholds(store, known, manifest)
    log(
        f"model: {printable(manifest.name)}, encoder {manifest.encoder_id[:12]}, "
        f"{printable(str(encoder.choice))}"
    )
    log(_gallery_line(known))
    if known.advice:
        log(known.advice)
    if len(known):
        meaning = explain(thresholds, len(known.individual_ids))
        log(f"decisions: {meaning}")
        put_meta(store, DECISIONS_KEY, meaning)
    return Judge(
        gallery=known,
        thresholds=thresholds,
        model=manifest.name,
        encoder_id=manifest.encoder_id,
        event_gap_seconds=settings.event_gap_seconds,
    )


def _gallery_line(known: Gallery) -> str:
    if not len(known):
        return (
            "gallery: empty, so nobody can be named; enrol known animals with "
            "`edge-gallery enroll FOLDER` (one sub-folder an individual). Going on without"
        )
    return (
        f"gallery: {counted(len(known.individual_ids), 'individual')}, "
        f"{counted(len(known), 'exemplar')}"
    )


def _sum_up(watching: Watch, inbox: Path, log: Log, once: bool) -> None:
    _tell_oddities(watching, log)
    if once and not watching.counts and watching.last_scan and watching.last_scan.is_empty:
        log(f"no pictures in {printable(str(inbox))}")
    else:
        log(f"done: {summary_line(watching.counts, watching.decisions())}")


def _tell_oddities(watching: Watch, log: Log) -> None:
    num_people = watching.counts["with people"]
    if num_people and watching.keeps_people_out:
        log(
            f"{counted(num_people, 'picture shows', 'pictures show')} people and "
            f"{'stays' if num_people == 1 else 'stay'} in the inbox: they are not moved into the "
            'state folder unless people = "keep"'
        )
    others = others_line(watching.last_scan.others) if watching.last_scan else None
    if others:
        log(others)
    num_outside = watching.counts["outside deployment"]
    if num_outside:
        log(
            f"{counted(num_outside, 'picture lies', 'pictures lie')} outside the time of their "
            "camera in the deployments table: check its deploymentStart and deploymentEnd, and "
            "clock_shift_seconds"
        )
    boxes = watching.boxes
    if boxes is not None and boxes.num_unseen:
        log(
            f"{counted(boxes.num_unseen, 'picture', 'pictures')} of the {len(boxes)} in the boxes "
            "file "
            f"{'is' if boxes.num_unseen == 1 else 'are'} not in the inbox"
        )
    num_unlisted, num_untimed = watching.counts["not in boxes"], watching.counts["file time"]
    if num_unlisted:
        log(
            f"{counted(num_unlisted, 'picture is', 'pictures are')} not in the boxes file and "
            "left unclassified: run the detector over the whole inbox, or leave --boxes away"
        )
    if num_untimed:
        log(
            f"{counted(num_untimed, 'picture carries', 'pictures carry')} no camera time: each is "
            "an event of its own, at its file's time, which may be that of a copy"
        )
