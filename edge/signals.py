"""Ctrl-C and SIGTERM end a run after the batch at hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from edge.watch import Watch


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
