"""Watching an inbox: what is to be done next, in which order, and what is told meanwhile.

Scanning finds the work; what the kernel reports only ends the pause between two scans.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.progress import Progress

from edge.config import After, Settings
from edge.detect import People
from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError, ModelError, StateError
from edge.intake.hints import hints
from edge.intake.inbox import FoundFile, Scan
from edge.operation import machine
from edge.operation.operation import Operation
from edge.record import store_media, store_report
from edge.text import counted, printable
from edge.watch import lines
from edge.watch.batch import MAX_MEDIA, Begun, begin, complete, is_large, take_batch
from edge.watch.pipeline import Pipeline
from edge.watch.recording import Learned
from edge.watch.trouble import Trouble
from edge.watch.upkeep import Upkeep
from edge.watch.work import Work, sort_out

_MAX_BATCH_SECONDS = 2.0  # of work that a power cut can cost; that of two where a burst waits
_LONG_BACKLOG = 2 * MAX_MEDIA
_TELL_EVERY = 500  # pictures, where there is no terminal to draw a bar on
_MAX_UNSETTLED = 1000  # events
_GATHER_SECONDS = 2.0  # at least so long from one search with work to the next: wears a card less
_SCARCE_BYTES = 96 * 2**20  # a large picture, whole, with its decoder
_TICK_SECONDS = 1.0  # how soon a stop is noticed while nothing happens


class Watch:
    """One run of edge-watch over an inbox."""

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        operation: Operation,
        stop: threading.Event,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.stop = stop
        self.last_scan: Scan | None = None
        self.in_hand: set[str] = set()  # media claimed and not recorded yet
        self._names_fit = False  # the inbox and the boxes file have a picture in common
        self._inbox = pipeline.inbox
        self._pipeline = pipeline
        self._settings = settings
        self._operation = operation
        self._tell = operation.log
        self._untold: dict[str, None] = {}  # events whose decision has not been printed yet
        self._told: dict[str, None] = {}  # the newest ones; a late frame may change them
        self._decisions: Counter[str] = Counter()  # of those told before
        self._batch_size = 4  # grows to what fits into the time
        self._oldest_at = 0.0  # monotonic seconds: when the first file of the backlog was seen
        self._worked_at = -math.inf  # monotonic: when the last search with work began
        self._told_missing: str | None = None
        self._is_cut_short = False  # the last pass, by its time

    def run_once(self) -> None:
        """Everything that is in the inbox now; waits a little for what is still arriving.

        Raises InputError where the inbox cannot be searched, StateError where the state folder
        fails.
        """
        trouble = Trouble(self._pipeline, self._settings, self._operation, self.stop)
        try:
            self._run_passes()
        except StateError as error:
            trouble.give_up(error, self.in_hand)
            raise
        if self.last_scan and self.last_scan.missing:
            raise InputError(self.last_scan.missing)

    def _run_passes(self) -> None:
        num_known, patience = -1, 0.0
        while (num_left := self.run_pass()) and not self.stop.is_set():
            if num_known < self.counts.total():  # while there is work, what is left can wait
                num_known = self.counts.total()
                patience = time.monotonic() + 3 * self._settings.settle_seconds
            if time.monotonic() > patience or not self._inbox.is_arriving:
                self._tell(f"{counted(num_left, 'file')} not whole yet and left for the next run")
                break
            self.stop.wait(0.05 + self._settings.settle_seconds / 4)

    def run_until_stopped(self) -> None:
        """Raises StateError where the state folder fails and waiting does not help."""
        trouble = Trouble(self._pipeline, self._settings, self._operation, self.stop)
        upkeep = Upkeep(self._pipeline, self._settings, self._operation)
        reports = hints(
            self._inbox.root,
            self.stop,
            tick_seconds=max(0.05, min(_TICK_SECONDS, self._settings.settle_seconds)),
            rescan_seconds=self._settings.rescan_seconds,
            tell=self._tell,
        )
        while not self.stop.is_set():
            try:
                self.run_pass(self._settings.rescan_seconds)
                upkeep.tend()
                trouble.past()
            except StateError as error:
                trouble.sit_out(error, self.in_hand)
                self.in_hand.clear()
                continue
            if not self._is_cut_short:
                self._pause(reports)
        upkeep.finish()

    def _pause(self, reports: Iterator[object]) -> None:
        """Until something changes, or it is time to look again anyway."""
        # In a folder of 100,000 files a scan takes a while; searching is not all there is to do.
        earliest = time.monotonic() + 2 * self._inbox.scan_seconds
        earliest = max(earliest, self._worked_at + _GATHER_SECONDS)
        seconds = self._settings.rescan_seconds
        if self._inbox.is_arriving:
            seconds = min(seconds, self._settings.settle_seconds)
        latest = max(earliest, time.monotonic() + seconds)
        has_changed = False
        for changes in reports:
            self._operation.beat()
            has_changed = has_changed or bool(changes)
            if self.stop.is_set() or time.monotonic() >= (earliest if has_changed else latest):
                return

    def run_pass(self, seconds: float = math.inf) -> int:
        """One scan and the work found by it; the number of files that must wait.

        Work that is not begun after so many seconds is left to the next pass, which sees what
        arrived at other cameras meanwhile.
        """
        scan = self.last_scan = self._inbox.scan()
        self._tell_missing(scan)
        self._require_names_fit(scan)
        work = sort_out(self._pipeline, scan, self.counts, self._tell)
        if len(work):
            self._worked_at = time.monotonic()
        self._oldest_at = time.monotonic() - scan.oldest_seconds
        self._tell_queue(len(work))
        self._operation.beat()
        try:
            num_left = self._run_batches(work, time.monotonic() + seconds)
        except ModelError:  # of the detector: none of the pictures' fault
            with self._pipeline.store.transaction():
                store_media.release(self._pipeline.store, self.in_hand)
            raise
        finally:  # what is recorded is told, also when the next batch met a full disk
            self._tell_sightings([])
        return scan.num_unsettled + num_left

    def _run_batches(self, work: Work, until: float) -> int:
        """The number of files that were not finished."""
        num_files, num_tried, num_done = len(work), 0, 0
        started = time.monotonic()
        progress = Progress(transient=True)
        is_seen = progress.console.is_terminal
        progress.disable = not is_seen or num_files < _LONG_BACKLOG  # it draws ten times a second
        with progress:
            bar = progress.add_task("pictures", total=num_files)
            held: list[Learned] = []
            for batch, begun, following in self._begun(work, until):
                result = complete(self._pipeline, begun, held, following)
                self.in_hand.difference_update(begun.claimed, (one.medium.sha256 for one in held))
                held = result.held
                self.in_hand.update(one.medium.sha256 for one in held)
                started = self._adapt(len(batch), started)
                for file in result.finished:
                    self._inbox.finish(file)
                self.counts.update(result.counts)
                num_done += len(result.finished)
                self._operation.health.count(result.counts)
                self._tell_queue(num_files - num_done)
                self._tell_sightings(result.events)
                progress.advance(bar, len(batch))
                num_told, num_tried = num_tried // _TELL_EVERY, num_tried + len(batch)
                if not is_seen and num_tried // _TELL_EVERY > num_told:
                    self._tell(f"{num_tried} of {num_files} pictures")
        self._is_cut_short = num_tried < num_files
        return num_files - num_done

    @property
    def boxes(self) -> BoxesFile | None:
        return self._pipeline.boxes

    @property
    def keeps_people_out(self) -> bool:
        """Of the archive; see `batch.dispose_files`."""
        return self._settings.after is After.move and self._settings.people is not People.keep

    def decisions(self) -> Counter[str]:
        """How often this run decided what, and the number of its "events"."""
        return self._decisions + self._count(self._told)

    def _count(self, events: Iterable[str]) -> Counter[str]:
        found: Counter[str] = Counter()
        for event_id in events:
            rows = store_report.event_rows(self._pipeline.store, event_id)
            kinds = [row["decision"] for row in rows]
            found.update(kinds)
            found["events"] += bool(kinds)  # none: merged into another event meanwhile
        return found

    def _begun(
        self, work: Work, until: float
    ) -> Iterator[tuple[list[FoundFile], Begun, list[FoundFile]]]:
        """Batches, each with the next one's files, which are already being decoded.

        Retries come last and one by one, so that a file that ends the program holds up nothing
        else and takes nothing with it.
        """
        ahead: tuple[list[FoundFile], Begun] | None = None
        position = 0
        while position < len(work.fresh) and self._may_begin(until):
            batch = take_batch(work.fresh, position, self._batch_size)
            position += len(batch)
            if ahead is not None and is_large(batch):
                yield *ahead, []
                ahead = None
            following = (batch, self._begin(batch))
            if ahead is not None:
                yield *ahead, batch
            ahead = following
        if ahead is not None:
            yield *ahead, []
        for file in work.retry:
            if not self._may_begin(until):
                return
            yield [file], self._begin([file]), []

    def _may_begin(self, until: float) -> bool:
        return not self.stop.is_set() and time.monotonic() < until

    def _begin(self, batch: list[FoundFile]) -> Begun:
        begun = begin(self._pipeline, batch, self.in_hand)
        self.in_hand.update(begun.claimed)
        return begun

    def _adapt(self, num_media: int, started: float) -> float:
        """Batches that fit into the time; gives the moment at which the next one starts."""
        now = time.monotonic()
        fitting = int(num_media * _MAX_BATCH_SECONDS / max(now - started, 1e-3))
        most = 1 if self._is_memory_short() else MAX_MEDIA
        self._batch_size = max(1, min(most, fitting, 2 * self._batch_size))
        return now

    def _require_names_fit(self, scan: Scan) -> None:
        """Before anything is recorded: not one common name means names of another root."""
        boxes = self._pipeline.boxes
        if boxes is None:
            return
        files = [file for file in scan.ready if file.problem is None]
        if not self._names_fit:
            boxes.fit(file.relative for file in files)
        for file in files:
            boxes.see(file.relative)
        pictures = [file for file in files if not file.is_clip]
        if self._names_fit or not pictures:
            return
        if not any(boxes.lists(file.relative) for file in pictures):
            its = f"it names {printable(boxes.example)}" if boxes.example else "it names none"
            raise InputError(
                f"no picture in the inbox is in the boxes file {boxes.path}: the inbox has "
                f"{printable(pictures[0].relative)}, {its}. Its names must be relative to the "
                "inbox, or absolute: run the detector on this folder with relative file names, or "
                "leave --boxes away"
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
        settled = list(self._told)[:-_MAX_UNSETTLED]
        self._decisions += self._count(settled)
        for event_id in settled:
            del self._told[event_id]

    def _is_memory_short(self) -> bool:
        """One file at a time then, rather than being ended by the kernel."""
        try:
            left = machine.memory().available_bytes
        except OSError:  # /proc is hidden from the service: nothing is known
            return False
        if left >= _SCARCE_BYTES:
            self._operation.health.clear("memory")
            return False
        told = f"only {left // 2**20} MB of memory are left: files are read one at a time"
        self._operation.health.degrade("memory", told, "end other programs, or add swap")
        self._operation.log.warn("memory", told)
        return True

    def _tell_queue(self, num_files: int) -> None:
        self._operation.health.queue(num_files, time.monotonic() - self._oldest_at)

    def _tell_missing(self, scan: Scan) -> None:
        if scan.missing is None:
            self._operation.health.clear("inbox")
            self._told_missing = None
            return
        self._operation.health.fail("inbox", scan.missing, "the search goes on by itself")
        if scan.missing != self._told_missing:
            self._operation.log.error("inbox", scan.missing)
        self._told_missing = scan.missing
