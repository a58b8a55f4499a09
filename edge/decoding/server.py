"""The process that decoders are forked from, which has loaded all they need once.

It loads while the watch itself does, on another core, so it is started before the rest of the
program is imported; this module imports nothing that takes time. POSIX only.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from edge.decoding.limits import OPENCV_LIMITS

_PRELOADED = ["edge.decoding.decoder", "edge.decoding.guard"]


def start_server() -> None:
    """Returns at once; does nothing where it runs already. Call it in the main thread."""
    os.environ.update(OPENCV_LIMITS)
    multiprocessing.set_forkserver_preload(_PRELOADED)
    with _importing_nothing_from_here():
        resource_tracker.ensure_running()  # the server needs it; starting it lets signals in again
        # Ctrl-C goes to the whole group: it is the watch's to act on, and no trace of the server's.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _importing_nothing_from_here() -> Iterator[None]:
    """Python looks into the current folder first for what such processes import. That folder may be
    the inbox, where anybody who uploads pictures could put a numpy.py."""
    os.environ["PYTHONSAFEPATH"] = "1"  # also for a server that is started anew
    if sys.version_info >= (3, 11):
        yield
        return
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir("/")
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
