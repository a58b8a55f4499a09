"""Ctrl-C and SIGTERM end a run after the batch at hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Stop:
    """Whether the run shall end, and by whom."""

    asked: threading.Event = field(default_factory=threading.Event)
    is_interrupted: bool = False  # by Ctrl-C


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """What is in hand is finished first; a second Ctrl-C does not wait for it."""
    stop = Stop()

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop.is_interrupted = True
        stop.asked.set()

    # The kernel sends it when a writer opens a file at the moment it is checked for writers;
    # unhandled it ends the program.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, lambda *_: stop.asked.set())
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
