"""What a running watch looks after between pictures: the archive, backups, gauges."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from edge.config import Settings
from edge.operation import machine
from edge.operation.operation import Operation
from edge.record import disk, retention
from edge.record.backup import DailyBackup
from edge.watch.pipeline import Pipeline

_EVERY_SECONDS = 60.0
_LAST_SECONDS = 4.0  # for a backup at work when the program is to stop, within ten seconds


class Upkeep:
    def __init__(self, pipeline: Pipeline, settings: Settings, operation: Operation) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._operation = operation
        self._backup = DailyBackup(pipeline.state)
        self._next = 0.0  # monotonic

    def tend(self) -> None:
        """Does what is due; raises StateError where the disk refuses."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_SECONDS
        clock = self._pipeline.clock.read()
        free_mb = disk.free_mb(self._pipeline.state.root)
        self._operation.health.measured(
            is_clock_trusted=clock.trusted,
            temperature_celsius=machine.temperature_celsius(),
            disk_free_bytes=None if free_mb is None else int(free_mb * 2**20),
        )
        for sentence in self._backup.tend():
            self._operation.log.warn("backup", sentence)
        num_gone = retention.retire(
            self._pipeline.store,
            self._pipeline.state,
            self._settings,
            clock_trusted=clock.trusted,
            now=datetime.now(timezone.utc),
        )
        if num_gone:
            self._operation.log.info("retention", f"{num_gone} archived pictures deleted")

    def finish(self) -> None:
        """When the program stops in good order."""
        self._backup.finish(_LAST_SECONDS)
