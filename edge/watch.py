"""Watching an inbox: what is to be done next, in which order, and what is told meanwhile.

Scanning finds the work; what the kernel reports only ends the pause between two scans.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import watchfiles
from rich.progress import Progress

from edge import lines, store_report
from edge.batch import MAX_MEDIA, Pipeline, run_batch, take_batch
from edge.config import Settings
from edge.errors import InputError
from edge.inbox import FoundFile, Inbox, Scan
from edge.text import counted, printable
from edge.work import Work, sort_out

_MAX_BATCH_SECONDS = 2.0  # what a power cut can cost
_LONG_BACKLOG = 2 * MAX_MEDIA
_TELL_EVERY = 500  # pictures, where there is no terminal to draw a bar on
_TICK_SECONDS = 1.0  # how soon a stop is noticed while nothing happens
Tell = Callable[[str], None]


class Watch:
    """One run of edge-watch over an inbox."""

    def __init__(self, inbox: Inbox, pipeline: Pipeline, settings: Settings, tell: Tell) -> None:
        self.counts: Counter[str] = Counter()
        self.stop = threading.Event()
        self.is_interrupted = False  # by Ctrl-C
        self.last_scan: Scan | None = None
        self._names_fit = False  # the inbox and the boxes file have a picture in common
        self._inbox = inbox
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
            if time.monotonic() > patience:
                self._tell(
                    f"{counted(num_left, 'file')} still being written and left for the next run"
                )
                break
            self.stop.wait(0.05 + self._settings.settle_seconds / 4)

    def run_until_stopped(self) -> None:
        tick = max(0.05, min(_TICK_SECONDS, self._settings.settle_seconds))
        hints = self._hints(self._inbox.root, tick)
        pause = 0.0  # what arrives before the kernel is asked to report is found by a second scan
        while not self.stop.is_set():
            num_left = self.run_pass()
            until = time.monotonic() + pause
            for changes in hints:
                if changes or self.stop.is_set() or time.monotonic() >= until:
                    break
            pause = self._settings.settle_seconds if num_left else self._settings.rescan_seconds

    def run_pass(self) -> int:
        """One scan and all work found by it; the number of files that must wait."""
        scan = self.last_scan = self._inbox.scan()
        self._require_names_fit(scan)
        work = sort_out(self._pipeline, self._inbox, scan, self.counts, self._tell)
        try:
            num_left = self._run_batches(work)
        finally:  # what is recorded is told, also when the next batch met a full disk
            self._tell_sightings([])
        return scan.num_unsettled + num_left

    def _run_batches(self, work: Work) -> int:
        """The number of files that were not finished."""
        num_files, num_tried, num_done = len(work), 0, 0
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

    def _batches(self, work: Work) -> Iterator[list[FoundFile]]:
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

    def _require_names_fit(self, scan: Scan) -> None:
        """Before anything is recorded: not one common name means names of another root."""
        boxes = self._pipeline.boxes
        pictures = [file for file in scan.ready if file.problem is None]
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

    def _tell_sightings(self, touched: list[str]) -> None:
        """Prints the events that the batch at hand did not touch any more."""
        complete = [one for one in self._untold if one not in touched]
        self._untold = dict.fromkeys(touched)
        for event_id in complete:
            for row in store_report.event_rows(self._pipeline.store, event_id):
                self._tell(lines.sighting_line(row))
                self._told[event_id] = None

    def _hints(self, root: Path, tick_seconds: float) -> Iterator[object]:
        """Yields what changed, something empty every tick; silent only in between."""
        try:
            yield from watchfiles.watch(
                root,
                watch_filter=None,
                debounce=500,
                stop_event=self.stop,
                rust_timeout=int(tick_seconds * 1000),
                yield_on_timeout=True,
            )
        except (OSError, RuntimeError) as error:
            self._tell(
                f"the system does not report new files here ({error}); the inbox is searched "
                f"every {self._settings.rescan_seconds:g} s instead"
            )
        while not self.stop.wait(tick_seconds):
            yield ()
