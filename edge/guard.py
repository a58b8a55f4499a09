"""Decoding in processes that may crash, hang or eat memory: each such file costs itself alone.

A pool of workers (pebble) forked from a server process that has loaded the decoders once. Each
worker has limits of its own, is renewed after many files, and ends with the process that uses
it. POSIX only: `resource` and `signal.setitimer` are what holds the limits.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import context, forkserver, process
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pebble

from edge.container import FFMPEG_FORMATS
from edge.errors import MediaError, MediaReason
from edge.header import MAX_PIXELS, MAX_SIDE

if TYPE_CHECKING:  # loading it loads OpenCV, which must not happen before its limits are set
    from edge.decoder import Decoded, Wanted

PICTURE_SECONDS = 30.0
CLIP_SECONDS = 120.0
_FILES_PER_WORKER = 1_000
_ADDRESS_SPACE = 1_500 * 1024 * 1024  # bytes
_MAX_OPEN_FILES = 64
_GRACE_SECONDS = 10.0  # beyond the worker's own timer, before the pool kills it
_MAX_TRIES = 3  # of a file whose worker ended for another reason than the file

# OpenCV reads these once, when it is loaded.
_OPENCV_LIMITS = {
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),
    "OPENCV_IO_MAX_IMAGE_WIDTH": str(MAX_SIDE),
    "OPENCV_IO_MAX_IMAGE_HEIGHT": str(MAX_SIDE),
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": f"format_whitelist;{FFMPEG_FORMATS}",
    "OPENCV_LOG_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",
}
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

_Result = TypeVar("_Result")
_launching = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class _Refused:
    """A MediaError on its way out of a worker."""

    reason: MediaReason
    detail: str


class _Worker(context.ForkServerProcess):
    """A process that does not run the main program's file again: it needs nothing of it."""

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802
        with _launching:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            try:
                return context.ForkServerProcess._Popen(process_obj)  # type: ignore[attr-defined]
            finally:
                sys.modules["__main__"] = main


class _WorkerContext(context.ForkServerContext):
    Process = _Worker


class Decoding(Generic[_Result]):
    """A file on its way through the pool."""

    def __init__(self, pool: DecodePool, seconds: float, call: tuple[Any, ...]) -> None:
        self._pool = pool
        self._seconds = seconds
        self._call = call
        self._future = pool._schedule(seconds, call)

    def done(self) -> bool:
        return bool(self._future.done())

    def result(self) -> _Result:
        """What came out; raises MediaError, also for "crashed", "timeout" and "memory"."""
        for _ in range(_MAX_TRIES):
            try:
                outcome = self._future.result()
            except pebble.ProcessExpired as error:
                raise _why_it_ended(error.exitcode, self._seconds) from error
            except (BrokenProcessPool, CancelledError, FutureTimeoutError, TimeoutError) as error:
                # An idle worker was killed, or the wall clock was set forward, by which pebble
                # counts; a file that takes too long ends its worker by the worker's own timer.
                last = error
                self._future = self._pool._schedule(self._seconds, self._call)
                continue
            if isinstance(outcome, _Refused):
                raise MediaError(outcome.reason, outcome.detail)
            result: _Result = outcome
            return result
        raise MediaError("crashed", f"its process was ended {_MAX_TRIES} times") from last


class DecodePool:
    """Workers that decode; nothing runs before the first file, and nothing after `close`."""

    def __init__(
        self,
        num_workers: int,
        picture_seconds: float = PICTURE_SECONDS,
        clip_seconds: float = CLIP_SECONDS,
    ) -> None:
        self._num_workers = num_workers
        self._seconds = {True: picture_seconds, False: clip_seconds}
        self._pool: pebble.ProcessPool | None = None
        self._lock = threading.Lock()
        self._closed = False
        _start_server()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def submit(self, data: bytes, wanted: Wanted) -> Decoding[Decoded]:
        """`edge.decoder.decode` of these bytes, in a worker."""
        is_picture = data.startswith((b"\xff\xd8", b"\x89PNG"))
        return self._start(self._seconds[is_picture], _decode, (data, wanted))

    def call(self, function: Callable[..., _Result], *args: Any) -> Decoding[_Result]:
        """Any function in a worker, under the limits of a picture."""
        return self._start(self._seconds[True], function, args)

    def close(self) -> None:
        """Ends the workers; what is not done by then is given up."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def _start(
        self, seconds: float, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> Decoding[Any]:
        return Decoding(self, seconds, (function, seconds, args))

    def _schedule(self, seconds: float, call: tuple[Any, ...]) -> Any:
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            for _ in range(_MAX_TRIES):
                pool = self._working_pool()
                try:
                    return pool.schedule(_run, args=call, timeout=seconds + _GRACE_SECONDS)
                except RuntimeError:  # it broke since it was looked at
                    continue
            raise RuntimeError(f"{_MAX_TRIES} pools of decoding processes broke in a row")

    def _working_pool(self) -> pebble.ProcessPool:
        """The pool, or a new one where pebble gave it up: it does when an idle worker is killed."""
        pool = self._pool
        if pool is not None and not pool.active:
            pool.stop()
            pool.join()
            pool = None
        if pool is None:
            pool = pebble.ProcessPool(
                max_workers=self._num_workers,
                max_tasks=_FILES_PER_WORKER,
                initializer=_limit_worker,
                context=_WorkerContext(),
            )
        self._pool = pool
        return pool


def _start_server() -> None:
    """Starts the server that workers are forked from; returns at once, and once a process."""
    os.environ.update(_OPENCV_LIMITS)
    multiprocessing.set_forkserver_preload(["edge.decoder"])
    forkserver.ensure_running()


def _limit_worker() -> None:
    """What a worker may do; runs first in each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the worker
    os.environ.update(_OPENCV_LIMITS)
    import cv2

    from edge import decoder  # noqa: F401

    cv2.setNumThreads(1)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_AS, _ADDRESS_SPACE),
    ):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def _run(function: Callable[..., Any], seconds: float, args: tuple[Any, ...]) -> Any:
    """In a worker: the kernel ends it when the time is up, whatever it does."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(*args)
    except MediaError as error:
        return _Refused(reason=error.reason, detail=error.detail)
    except MemoryError as error:
        return _Refused(reason="memory", detail=str(error) or "more than a worker may use")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _decode(data: bytes, wanted: Wanted) -> Decoded:
    from edge import decoder

    return decoder.decode(data, wanted)


def _why_it_ended(exitcode: int | None, seconds: float) -> MediaError:
    if exitcode == -signal.SIGALRM:
        return MediaError("timeout", f"not decoded within {seconds:g} seconds")
    return MediaError("crashed", f"the decoder ended with {exitcode}")
