"""What a running edge-watch has beside its pipeline: log, health, watchdog, endpoints.

The pipeline calls `beat` after real progress or proven idleness; everything else follows from it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from edge.config import Settings
from edge.errors import FanclError
from edge.operation.health import Health, Snapshot
from edge.operation.health_file import HealthFile
from edge.operation.listen import Address, parse_listen
from edge.operation.logs import Log
from edge.operation.notify import Heart, Notifier, open_notifier, watchdog_seconds
from edge.record.state import StateFolder
from edge.text import counted

_SILENCE_SECONDS = 60.0  # without a beat /livez fails, where systemd sets no watchdog


@dataclass(frozen=True, kw_only=True)
class Operation:
    log: Log
    health: Health
    notifier: Notifier
    heart: Heart
    file: HealthFile

    def ready(self) -> None:
        """The model is loaded, the database open: pictures can be taken in."""
        self.health.ready()
        self.notifier.ready()
        self.beat()

    def beat(self) -> None:
        """Something was done, or there is provably nothing to do."""
        self.heart.beat()
        self.health.progress()
        self.notifier.status(status_line(self.health.snapshot()))
        self.file.save_if_due()
        self.log.flush()

    def stopping(self) -> None:
        """As soon as a stop is asked for."""
        self.health.stopping()
        self.notifier.stopping()


@contextmanager
def operated(
    folder: StateFolder,
    settings: Settings,
    inbox: Path,
    log: Log,
    environment: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Operation]:
    """For as long as a watch runs; needs the state's lock. Raises ConfigError for `listen`.

    An error that leaves the block is kept in health.json as the reason of the end.
    """
    address = parse_listen(settings.listen)
    health = Health(clock)
    notifier = open_notifier(environment)
    watchdog = watchdog_seconds(environment)
    operation = Operation(
        log=log,
        health=health,
        notifier=notifier,
        heart=Heart(notifier, watchdog, clock),
        file=HealthFile(folder, health, inbox, clock),
    )
    operation.file.save()
    try:
        with _endpoints(address, health, log, watchdog or _SILENCE_SECONDS):
            yield operation
    except Exception as error:  # raised on; kept as the reason of the end
        health.fail("other", _ending(error), "see `journalctl -u edge-watch -n 50`")
        raise
    finally:
        operation.stopping()
        operation.file.save(has_ended=health.snapshot().state != "failed")
        notifier.close()
        log.close()


def _endpoints(
    address: Address | None, health: Health, log: Log, max_silence_seconds: float
) -> AbstractContextManager[None]:
    if address is None:
        return nullcontext()
    from edge.operation.http import served  # 1.6 MB and a tenth of a second, for those who want it

    return served(address, health, log.warn, max_silence_seconds)


def _ending(error: Exception) -> str:
    return str(error) if isinstance(error, FanclError) else f"a fault in the program: {error!r}"


def status_line(snapshot: Snapshot) -> str:
    """The state in one line, for `systemctl status`."""
    reasons = ", ".join(one.kind for one in snapshot.reasons)
    state = f"{snapshot.state} ({reasons})" if reasons else snapshot.state
    num_files = sum(snapshot.frames.values())
    return f"{state}; {counted(num_files, 'file')} done, {snapshot.queue_depth} waiting"
