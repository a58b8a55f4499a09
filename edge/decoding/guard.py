"""Decoding in processes that may crash, hang or eat memory: each such file costs itself alone.

One thread waits on each worker, and each worker is reached by a socket of its own, so the death
of one can hold up no other. A file's bytes go through memory shared with the worker, as a socket
takes a few hundred KB at a time. Workers are forked from a server process that has loaded the
decoders once; each has limits of its own, is renewed after many files, and ends with the process
that uses it. POSIX only: `resource` and `signal.setitimer` hold the limits.

Why no pool of a library: pebble 5.2's workers share a lock, and the others wait for ever when one
is killed while it holds it; it counts time by the wall clock; `concurrent.futures` gives up the
whole pool when one worker dies.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import resource
import signal
import socket
import struct
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import context, process
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, TypeVar

from edge.decoding.header import is_picture
from edge.decoding.limits import MAX_CLIP_BYTES, OPENCV_LIMITS
from edge.decoding.server import start_server
from edge.decoding.shared_memory import SharedMemory
from edge.errors import InstallError, MediaError, MediaReason

if TYPE_CHECKING:  # loading it loads OpenCV, which must not happen before its limits are set
    from edge.decoding.decoder import Decoded, Wanted

PICTURE_SECONDS = 30.0
CLIP_SECONDS = 120.0
_FILES_PER_WORKER = 1_000
_ADDRESS_SPACE = 1_500 * 1024 * 1024  # bytes
_MAX_OPEN_FILES = 64
_START_SECONDS = 60.0
_READY = "ready"
_GRACE_SECONDS = 10.0  # beyond the worker's own timer, before it is killed from outside
_MAX_TRIES = 2  # of a file whose worker died, perhaps for another's memory or by chance

_TOO_LONG = (-signal.SIGALRM, -signal.SIGXCPU)  # it would take as long again
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

_Result = TypeVar("_Result")
_launching = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class _Refused:
    """A MediaError on its way out of a worker."""

    reason: MediaReason
    detail: str


class _Process(context.ForkServerProcess):
    """A process that does not run the main program's file again: it needs nothing of it."""

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802
        with _launching:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            try:
                return context.ForkServerProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A function to be called in a worker, with these bytes first if there are any."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    data: bytes | None


class _WorkerEndedError(Exception):
    """The worker ended instead of answering."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(exitcode)
        self.exitcode = exitcode


class _NoStartError(Exception):
    """A worker that ended before it was ready."""


class _Worker:
    """One process, the socket to it and the memory shared with it."""

    def __init__(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._memory = SharedMemory(os.memfd_create("medium"))
        try:
            _limit_sending(self._connection, _GRACE_SECONDS)
            self._process = _started(theirs, self._memory)
        except BaseException:
            self._memory.close()
            raise
        finally:
            theirs.close()
        self.num_files = 0
        if not self._is_ready():  # never a file's fault
            self.kill()
            self.end()
            raise _NoStartError

    def _is_ready(self) -> bool:
        try:
            return self._connection.poll(_START_SECONDS) and self._connection.recv() == _READY
        except (EOFError, OSError):
            return False

    def ask(self, seconds: float, task: _Task) -> Any:
        """What the function gives in the worker; raises _WorkerEndedError if that ends first."""
        self.num_files += 1
        num_bytes = None if task.data is None else len(task.data)
        try:
            if task.data is not None:
                self._memory.put(task.data)
            self._connection.send((task.function, seconds, num_bytes, task.args))
            # The worker's own timer ends it before; not where it is stopped (SIGSTOP).
            if self._connection.poll(seconds + _GRACE_SECONDS):
                answer = self._connection.recv()
                self._memory.shrink()
                return answer
            exitcode: int | None = -signal.SIGALRM
        except (EOFError, OSError):
            self._process.join(_GRACE_SECONDS)
            exitcode = self._process.exitcode
        self.kill()
        raise _WorkerEndedError(exitcode)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Ends an idle worker by closing its socket, another by force; leaves nothing behind."""
        self._connection.close()
        self._memory.close()
        self._process.join(_GRACE_SECONDS)
        self._process.kill()
        self._process.join()
        self._process.close()


def _started(connection: Connection, memory: SharedMemory) -> _Process:
    """A process forked from the server, which is started anew where it was killed."""
    process = _Process(target=_serve, args=(connection, memory), daemon=True)
    try:
        process.start()
    except (EOFError, OSError) as error:
        raise _NoStartError from error
    return process


class DecodePool:
    """Workers that decode; nothing runs before the first file, and nothing after `close`."""

    def __init__(
        self,
        num_workers: int,
        picture_seconds: float = PICTURE_SECONDS,
        clip_seconds: float = CLIP_SECONDS,
        num_threads: int = 0,
    ) -> None:
        """`num_threads`, where it is more: so many files are in hand at a time (see `submit`)."""
        self._picture_seconds = picture_seconds
        self._clip_seconds = clip_seconds
        self._threads = ThreadPoolExecutor(
            max(num_workers, num_threads), thread_name_prefix="decode"
        )
        self._workers: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        for _ in range(num_workers):
            self._workers.put(None)
        self._busy: set[_Worker] = set()
        self._num_workers = num_workers
        self._closed = False
        start_server()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def submit(
        self, data: bytes, wanted: Wanted, then: Callable[[Decoded], Decoded] | None = None
    ) -> Future[Decoded]:
        """`edge.decoding.decoder.decode` of these bytes, in a worker.

        `then` changes what came of it: in this process, in the thread that waited for the worker,
        which may meanwhile decode for another one. The future's result raises MediaError, also for
        "crashed", "timeout" and "memory", InstallError where no worker can be started, and what
        `then` raises.
        """
        seconds = self._picture_seconds if is_picture(data) else self._clip_seconds
        task = _Task(function=_decode, args=(wanted,), data=data)
        return self._threads.submit(self._decoded, seconds, task, then)

    def call(self, function: Callable[..., _Result], *args: Any) -> Future[_Result]:
        """Any function in a worker, under the limits of a picture."""
        task = _Task(function=function, args=args, data=None)
        return self._threads.submit(self._run, self._picture_seconds, task)

    def close(self) -> None:
        """Ends the workers; what is not done by then is given up."""
        if self._closed:
            return
        self._closed = True
        for worker in list(self._busy):
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for _ in range(self._num_workers):
            worker_or_none = self._workers.get()
            if worker_or_none is not None:
                worker_or_none.end()

    def _decoded(
        self, seconds: float, task: _Task, then: Callable[[Decoded], Decoded] | None
    ) -> Decoded:
        decoded: Decoded = self._run(seconds, task)
        return decoded if then is None else then(decoded)

    def _run(self, seconds: float, task: _Task) -> Any:
        worker = self._workers.get()
        try:
            for left in reversed(range(_MAX_TRIES)):
                worker = _ready(worker)
                self._busy.add(worker)
                if self._closed:
                    raise CancelledError
                try:
                    return _opened(worker.ask(seconds, task))
                except _WorkerEndedError as died:
                    worker.end()
                    self._busy.discard(worker)
                    worker = None
                    if died.exitcode in _TOO_LONG or left == 0 or self._closed:
                        raise _why_it_ended(died.exitcode, seconds) from died
                finally:
                    if worker is not None:
                        self._busy.discard(worker)
        finally:
            self._workers.put(worker)


def _ready(worker: _Worker | None) -> _Worker:
    """The worker, or a new one where there is none or it has done its share."""
    if worker is not None and worker.num_files >= _FILES_PER_WORKER:
        worker.end()
        worker = None
    if worker is not None:
        return worker
    for left in reversed(range(_MAX_TRIES)):
        try:
            return _Worker()
        except _NoStartError as error:  # killed before it began, perhaps; never a file's fault
            if left == 0:
                raise InstallError(
                    "a decoding process does not start (what it printed is above): install the "
                    "packages again, and see that memory is left"
                ) from error
    raise AssertionError


def _opened(answer: Any) -> Any:
    if isinstance(answer, _Refused):
        raise MediaError(answer.reason, answer.detail)
    return answer


def _limit_sending(connection: Connection, seconds: float) -> None:
    """A stopped worker reads nothing; sending it a large file must not wait for ever."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        whole = struct.pack("ll", int(seconds), 0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, whole)


def _limit_worker() -> None:
    """What a worker may do; runs first in each."""
    # Ctrl-C and a service manager's stop go to the whole group; a worker ends by its socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the worker
    os.environ.update(OPENCV_LIMITS)
    import cv2

    from edge.decoding import decoder  # noqa: F401

    cv2.setNumThreads(1)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, now, most in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, MAX_CLIP_BYTES),  # a clip is put into a file in memory
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES, _MAX_OPEN_FILES),
        (resource.RLIMIT_AS, _ADDRESS_SPACE, _ADDRESS_SPACE),
    ):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (min(now, most), most))


def _serve(connection: Connection, memory: SharedMemory) -> None:
    """A worker's life: answers until its socket is closed."""
    _limit_worker()
    connection.send(_READY)
    while True:
        try:
            function, seconds, num_bytes, args = connection.recv()
        except EOFError:
            return
        data = () if num_bytes is None else (memory.take(num_bytes),)
        connection.send(_answer(function, seconds, (*data, *args)))


def _answer(function: Callable[..., Any], seconds: float, args: tuple[Any, ...]) -> Any:
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
    from edge.decoding import decoder

    return decoder.decode(data, wanted)


def _why_it_ended(exitcode: int | None, seconds: float) -> MediaError:
    if exitcode == -signal.SIGALRM:
        return MediaError("timeout", f"not decoded within {seconds:g} seconds")
    return MediaError("crashed", f"the decoder ended with {exitcode}")
