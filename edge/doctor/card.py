"""How fast the disk under the state folder is, as a card wears out or was slow from the start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.record.disk import space

_PHASE_SECONDS = 1.0
_SMALL, _LARGE = 4096, 1024 * 1024
_MAX_BYTES = 64 * 1024 * 1024
_ROOM_BYTES = 4 * _MAX_BYTES  # free space below which nothing is measured


@dataclass(frozen=True, kw_only=True)
class CardSpeed:
    commits_per_second: float  # 4 KB written and synced: what each batch waits for
    megabytes_per_second: float  # in one piece, synced at the end


def measure_card(folder: Path, clock: Callable[[], float]) -> CardSpeed | None:
    """About two seconds of writing into a file without a name, so nothing is left behind.

    None where there is too little free space. `clock` gives seconds. Raises OSError.
    """
    left = space(folder)
    if left is None or left.free_bytes < _ROOM_BYTES:
        return None
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        descriptor = file.fileno()
        num_commits, started = 0, clock()
        while (commit_seconds := clock() - started) < _PHASE_SECONDS:
            os.pwrite(descriptor, os.urandom(_SMALL), num_commits % 256 * _SMALL)
            os.fsync(descriptor)
            num_commits += 1
        block = os.urandom(_LARGE)
        num_bytes, started = 0, clock()
        while num_bytes < _MAX_BYTES and clock() - started < _PHASE_SECONDS:
            num_bytes += os.pwrite(descriptor, block, num_bytes)
        os.fdatasync(descriptor)
        stream_seconds = clock() - started
    return CardSpeed(
        commits_per_second=num_commits / commit_seconds,
        megabytes_per_second=num_bytes / 1e6 / max(stream_seconds, 1e-6),
    )
