"""Memory for a file's bytes between the watch and a decoder. Linux only (memfd)."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any

_KEPT_BYTES = 16 * 1024 * 1024  # between two files; a larger file's goes at once


class SharedMemory:
    """Memory that a process shares with those it hands it to; it goes when the last one ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[[Any], SharedMemory], tuple[Any]]:
        return _received, (reduction.DupFd(self._descriptor),)

    def put(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, memoryview(data)[done:], done)

    def take(self, num_bytes: int) -> bytes:
        return os.pread(self._descriptor, num_bytes, 0)

    def shrink(self) -> None:
        if os.fstat(self._descriptor).st_size > _KEPT_BYTES:
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        os.close(self._descriptor)


def _received(descriptor: Any) -> SharedMemory:
    return SharedMemory(descriptor.detach())
