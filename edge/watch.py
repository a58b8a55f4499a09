"""Watching an inbox: what is to be done next, in which order, and what is told meanwhile.

Scanning finds the work; what the kernel reports only ends the pause between two scans.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from rich.progress import Progress

from edge import store_media, store_report
from edge.batch import MAX_MEDIA, Pipeline, dispose_files, put_aside, run_batch, take_batch
from edge.config import Settings
from edge.errors import InputError, MediaError
from edge.hints import hints
from edge.inbox import FoundFile, Others, Scan
from edge.store_media import MAX_ATTEMPTS, KnownFile
from edge.text import counted, printable

_MAX_BATCH_SECONDS = 2.0  # what a power cut can cost
_LONG_BACKLOG = 2 * MAX_MEDIA
_TELL_EVERY = 500  # pictures, where there is no terminal to draw a bar on
_TICK_SECONDS = 1.0  # how soon a stop is noticed while nothing happens
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Work:
    fresh: list[FoundFile]
    retry: list[FoundFile]  # the program ended while it had them in hand: one at a time


class Watch:
    """One run of edge-watch over an inbox."""

    def __init__(self, pipeline: Pipeline, settings: Settings, tell: Tell) -> None:
        self.counts: Counter[str] = Counter()
        self.stop = threading.Event()
        self.is_interrupted = False  # by Ctrl-C
        self.last_scan: Scan | None = None
        self._told_missing: str | None = None
        self._names_fit = False  # the inbox and the boxes file have a picture in common
        self._inbox = pipeline.inbox
        self._pipeline = pipeline
        self._settings = settings
        self._tell = tell
        self._untold: dict[str, None] = {}  # events whose decision has not been printed yet
        self._told: dict[str, None] = {}
        self._batch_size = 4  # grows to what fits into the time

    def run_once(self) -> None:
        """Everything that is in the inbox now; waits a little for what is still arriving."""
        patience = time.monotonic() + 3 * self._settings.settle_seconds
        while (num_left := self.run_pass()) and not self.stop.is_set():
            if time.monotonic() > patience or not self._inbox.is_arriving:
                self._tell(f"{counted(num_left, 'file')} not whole yet and left for the next run")
                break
            self.stop.wait(0.05 + self._settings.settle_seconds / 4)
        if self.last_scan and self.last_scan.missing:
            raise InputError(self.last_scan.missing)

    def run_until_stopped(self) -> None:
        tick = max(0.05, min(_TICK_SECONDS, self._settings.settle_seconds))
        changes_seen = hints(
            self._inbox.root,
            self.stop,
            tick_seconds=tick,
            rescan_seconds=self._settings.rescan_seconds,
            tell=self._tell,
        )
        while not self.stop.is_set():
            self.run_pass()
            pause = self._settings.rescan_seconds
            if self._inbox.is_arriving:
                pause = min(pause, self._settings.settle_seconds)
            until = time.monotonic() + pause
            for changes in changes_seen:
                if changes or self.stop.is_set() or time.monotonic() >= until:
                    break

    def run_pass(self) -> int:
        """One scan and all work found by it; the number of files that must wait."""
        scan = self.last_scan = self._inbox.scan()
        if scan.missing and scan.missing != self._told_missing:
            self._tell(scan.missing)
        self._told_missing = scan.missing
        self._require_names_fit(scan)
        self._forget_readable(scan)
        work = self._sort_out(scan.ready)
        try:
            num_left = self._run_batches(work)
        finally:  # what is recorded is told, also when the next batch met a full disk
            self._tell_sightings([])
        return scan.num_unsettled + num_left

    def _run_batches(self, work: _Work) -> int:
        """The number of files that were not finished."""
        num_files, num_tried, num_done = len(work.fresh) + len(work.retry), 0, 0
        with Progress(disable=num_files < _LONG_BACKLOG, transient=True) as progress:
            bar = progress.add_task("pictures", total=num_files)
            for batch in self._batches(work):
                started = time.monotonic()
                result = run_batch(self._pipeline, batch)
                self._adapt(len(batch), time.monotonic() - started)
                for file in result.finished:
                    self._inbox.finish(file)
                self.counts.update(result.counts)
                num_done += len(result.finished)
                self._tell_sightings(result.events)
                progress.advance(bar, len(batch))
                num_told, num_tried = num_tried // _TELL_EVERY, num_tried + len(batch)
                if not progress.console.is_terminal and num_tried // _TELL_EVERY > num_told:
                    self._tell(f"{num_tried} of {num_files} pictures")
        return num_files - num_done

    def events_told(self) -> list[str]:
        return list(self._told)

    def _batches(self, work: _Work) -> Iterator[list[FoundFile]]:
        """Retries come last, so that a file that ends the program holds up nothing else."""
        fresh = work.fresh
        while fresh and not self.stop.is_set():
            batch = take_batch(fresh, self._batch_size)
            fresh = fresh[len(batch) :]
            yield batch
        for file in work.retry:
            if self.stop.is_set():
                return
            yield [file]

    def _adapt(self, num_media: int, seconds: float) -> None:
        fitting = int(num_media * _MAX_BATCH_SECONDS / max(seconds, 1e-3))
        self._batch_size = max(1, min(MAX_MEDIA, fitting, 2 * self._batch_size))

    def _sort_out(self, files: Sequence[FoundFile]) -> _Work:
        work = _Work(fresh=[], retry=[])
        disposable: list[tuple[FoundFile, str]] = []
        for file in files:
            known = store_media.find_known(self._pipeline.store, file)
            if known is None or known.reason == "unreadable":
                self._begin(file, known, work)
                continue
            if known.state == "claimed" and known.attempts < MAX_ATTEMPTS:
                work.retry.append(file)
                continue
            if known.state == "claimed":
                self._give_up(file, known)
            if known.state == "done" and known.sha256:
                disposable.append((file, known.sha256))
            self._inbox.finish(file)
        dispose_files(self._pipeline, disposable)
        return work

    def _begin(self, file: FoundFile, known: KnownFile | None, work: _Work) -> None:
        if file.problem is None and file.is_clip:  # counted and said, not read
            self._inbox.finish(file)
            return
        if file.problem is None:
            work.fresh.append(file)
            return
        reason, detail = file.problem
        if known is None:
            put_aside(self._pipeline, file, MediaError(reason, detail))
            self.counts["quarantined"] += 1
        if reason == "unreadable":
            self._tell(f"the folder {file.display} is left out: {detail}")
        self._inbox.finish(file)

    def _require_names_fit(self, scan: Scan) -> None:
        """Before anything is recorded: not one common name means names of another root."""
        boxes = self._pipeline.boxes
        pictures = [file for file in scan.ready if file.problem is None and not file.is_clip]
        if self._names_fit or boxes is None or not pictures:
            return
        if not any(boxes.lists(file.relative) for file in pictures):
            its = f"it names {printable(boxes.example)}" if boxes.example else "it names none"
            raise InputError(
                f"no picture in the inbox is in the boxes file {boxes.path}: the inbox has "
                f"{printable(pictures[0].relative)}, {its}. Its names must be relative to the "
                "inbox: run the detector on this folder with relative file names, or leave "
                "--boxes away"
            )
        self._names_fit = True

    def _forget_readable(self, scan: Scan) -> None:
        """A folder that could not be read and now can is nothing to look after any more."""
        root = os.fsencode(self._inbox.root) + b"/"
        readable = [
            path
            for path in store_media.unreadable_places(self._pipeline.store)
            if path.startswith(root) and path not in scan.unusable and os.path.isdir(path)  # noqa: PTH112
        ]
        if readable:
            with self._pipeline.store.transaction():
                for path in readable:
                    store_media.drop_quarantine(self._pipeline.store, path)

    def _give_up(self, file: FoundFile, known: KnownFile) -> None:
        assert known.sha256 is not None
        with self._pipeline.store.transaction():
            store_media.quarantine(
                self._pipeline.store,
                known.sha256,
                [file],
                "crashed",
                store_media.crash_detail(known.attempts),
            )
        self.counts["quarantined"] += 1

    def _tell_sightings(self, touched: list[str]) -> None:
        """Prints the events that the batch at hand did not touch any more."""
        complete = [one for one in self._untold if one not in touched]
        self._untold = dict.fromkeys(touched)
        for event_id in complete:
            for row in store_report.event_rows(self._pipeline.store, event_id):
                self._tell(sighting_line(row))
                self._told[event_id] = None


@contextmanager
def stopped_by_signals(watch: Watch) -> Iterator[None]:
    """The batch at hand is finished first; a second Ctrl-C does not wait for it."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        watch.is_interrupted = True
        watch.stop.set()

    # The kernel sends it when a writer opens a file at the moment it is checked for writers;
    # unhandled it ends the program.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, lambda *_: watch.stop.set())
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def sighting_line(row: store_report.Record) -> str:
    """One animal in one event as a line on the terminal."""
    start = datetime.fromisoformat(row["start"])
    frames = counted(row["num_frames"], "frame")
    best = _named(row["name"], row["similarity"])
    next_one = _named(row["runner_up_name"], row["runner_up_similarity"])
    nearest = f"{best}, then {next_one}" if next_one else best
    said = {
        "match": nearest,
        "new": f"nearest is {nearest}" if nearest else "nobody is enrolled",
        "review": f"perhaps {nearest}" if nearest else "nobody is enrolled",
        "unidentifiable": "too small to tell",
    }[row["decision"]]
    place = printable(row["deployment_id"])
    return f"{start:%Y-%m-%d %H:%M:%S}  {place}  {frames}  {row['decision'].upper()}  {said}"


def _named(name: str | None, similarity: float | None) -> str:
    return f"{printable(name)} {similarity:.3f}" if name and similarity is not None else ""


def summary_line(watch: Watch, rows: Sequence[store_report.Record]) -> str:
    """What a run came to; `rows` are its observations."""
    counts = watch.counts
    decisions = Counter(row["decision"] for row in rows)
    parts = [
        counted(counts["frames"], "new frame"),
        counted(len({row["event_id"] for row in rows}), "event"),
        *(f"{decisions[kind]} {kind}" for kind in ("match", "new", "review", "unidentifiable")),
        *(f"{counts[kind]} {kind}" for kind in ("blank", "human", "vehicle") if counts[kind]),
        f"{counts['quarantined']} quarantined",
    ]
    if counts["copies"]:
        parts.append(counted(counts["copies"], "copy", "copies") + " of known pictures")
    line = ", ".join(parts)
    return f"{line}; see `edge-admin quarantine list`" if counts["quarantined"] else line


def others_line(others: Others) -> str | None:
    """The files in the inbox that are no pictures, as a sentence; None where there are none."""
    parts = [
        counted(number, word)
        for number, word in ((others.num_clips, "clip"), (others.num_files, "other file"))
        if number
    ]
    if not parts:
        return None
    was = "was" if others.num_clips + others.num_files == 1 else "were"
    return f"{' and '.join(parts)} {was} not read: only JPEG and PNG pictures are"
