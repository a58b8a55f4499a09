"""What a running watch does when its disk fails: it says so, waits, probes, and goes on.

Nothing is claimed meanwhile. What was in hand gets its attempt back: the fault was not its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime, timezone

from edge.config import Settings
from edge.errors import StateError, StateKind
from edge.operation.health import ReasonKind
from edge.operation.operation import Operation
from edge.record import disk, retention, store_media
from edge.watch.pipeline import Pipeline

_PROBE_SECONDS = 5.0
_MAX_IO_ERRORS = 3  # in a row; then the program ends and the service starts it anew
_REASONS: dict[StateKind, ReasonKind] = {"full": "disk-full", "read-only": "read-only", "io": "io"}
_ADVICE: dict[StateKind, str] = {
    "full": "free some space; recording goes on by itself",
    "read-only": "mount the disk writable; recording goes on by itself. A card that turns "
    "read-only is often worn out: make a backup",
    "io": "check the card and its contacts; make a backup",
}


class Trouble:
    """Keeps a watch alive over a fault of the disk under its state folder."""

    def __init__(
        self, pipeline: Pipeline, settings: Settings, operation: Operation, stop: threading.Event
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._operation = operation
        self._stop = stop
        self._ballast = disk.Ballast(pipeline.state.ballast)
        self._had_ballast = self._ballast.fill()
        self._num_io_errors = 0

    def sit_out(self, error: StateError, in_hand: Iterable[str]) -> None:
        """Returns when recording is possible again, or a stop is asked for.

        Raises the error where waiting does not help.
        """
        if error.kind not in _REASONS:
            raise error
        if error.kind == "io":
            self._num_io_errors += 1
            if self._num_io_errors >= _MAX_IO_ERRORS:
                raise error
        self._tell(error)
        if error.kind == "full":
            self._make_room()
        in_hand = list(in_hand)
        while not self._stop.wait(_PROBE_SECONDS):
            self._operation.beat()
            try:
                self._require_works(error.kind)
                self._give_back(in_hand)
            except StateError as still:
                self._operation.log.warn(_REASONS[error.kind], str(still))
                continue
            self._operation.health.clear(_REASONS[error.kind])
            self._operation.log("the disk works again: recording goes on")
            return

    def give_up(self, error: StateError, in_hand: Iterable[str]) -> None:
        """The run ends with the error: what was in hand gets its attempt back, if that can be."""
        if error.kind not in _REASONS:
            return
        try:
            if error.kind == "full":
                self._ballast.release()
            if error.kind == "io":
                self._pipeline.store.reopen()
            self._give_back(list(in_hand))
        except StateError as still:
            self._operation.log.warn(
                _REASONS[error.kind],
                f"files in hand keep an attempt that was none of theirs: {still}",
            )

    def past(self) -> None:
        """A pass went well."""
        self._num_io_errors = 0
        self._had_ballast = self._ballast.fill() or self._had_ballast

    def _tell(self, error: StateError) -> None:
        kind = _REASONS[error.kind]
        add = self._operation.health.degrade if kind == "disk-full" else self._operation.health.fail
        add(kind, str(error), _ADVICE[error.kind])
        self._operation.log.error(kind, f"{error}. Nothing is recorded until then")
        self._operation.beat()

    def _make_room(self) -> None:
        """By the rules the user gave for the archive, with the ballast's room to work in."""
        try:
            self._ballast.release()
            retention.retire(
                self._pipeline.store,
                self._pipeline.state,
                self._settings,
                clock_trusted=self._pipeline.clock.read().trusted,
                now=datetime.now(timezone.utc),
            )
        except StateError as error:
            self._operation.log.warn("disk-full", str(error))

    def _require_works(self, kind: StateKind) -> None:
        disk.probe(self._pipeline.state.root)
        if kind == "io":
            self._pipeline.store.reopen()
        # The reserve comes first: work begins again when there is room for it and as much again.
        if kind == "full" and self._had_ballast and not self._ballast.fill():
            raise StateError("full", f"{self._pipeline.state.root} still has too little space")

    def _give_back(self, in_hand: list[str]) -> None:
        if in_hand:
            with self._pipeline.store.transaction():
                store_media.release(self._pipeline.store, in_hand)
