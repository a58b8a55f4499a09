"""The disk under the state folder: its space, its kind, whether it takes writes, and a reserve.

Does not cover what is given up when space runs out (edge/record/retention.py, edge/watch/watch.py).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError
from edge.record.state import kind_of

BALLAST_MB = 8
_MB = 2**20
_BLOCK = 64 * 1024  # bytes; less free than this and SQLite cannot go on
_PROBE_NAME = "probe.tmp"


@dataclass(frozen=True, kw_only=True)
class Space:
    free_bytes: int  # for this user
    free_files: int | None  # None: the file system does not count them
    is_read_only: bool

    @property
    def is_full(self) -> bool:
        return self.free_bytes < _BLOCK or self.free_files == 0


def space(path: Path) -> Space | None:
    """What is left where `path` lies; None where there is no such folder."""
    try:
        info = os.statvfs(path)
    except OSError:
        return None
    return Space(
        free_bytes=info.f_bavail * info.f_frsize,
        free_files=info.f_favail if info.f_files else None,
        is_read_only=bool(info.f_flag & os.ST_RDONLY),
    )


def free_mb(path: Path) -> float | None:
    """Megabytes left for this user; None where there is no such folder."""
    left = space(path)
    return None if left is None else left.free_bytes / _MB


def probe(folder: Path) -> None:
    """Returns when the disk takes a small file for good; raises StateError while it does not."""
    path = folder / _PROBE_NAME
    try:
        _write(path, os.urandom(_BLOCK))
        path.unlink()
    except OSError as error:
        with suppress(OSError):  # on a disk that takes nothing, taking away may fail too
            path.unlink()
        raise StateError(
            kind_of(error), f"{folder} still takes no files: {error.strerror}"
        ) from error


class Ballast:
    """A file that only takes up space, so that there is some left to clean up with.

    On a full disk not even deleting is sure to work: a journal wants to grow first.
    """

    def __init__(self, path: Path, num_mb: int = BALLAST_MB) -> None:
        self.path = path
        self._num_bytes = num_mb * _MB

    @property
    def is_there(self) -> bool:
        return self.path.is_file()

    def fill(self) -> bool:
        """Makes it where there is room for twice its size; whether it is there now."""
        if self.is_there:
            return True
        left = space(self.path.parent)
        if left is None or left.is_read_only or left.free_bytes < 2 * self._num_bytes:
            return False
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            # Random bytes: a file system that compresses would keep nothing of zeros.
            _write(temporary, os.urandom(self._num_bytes))
            temporary.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            if kind_of(error) == "full":
                return False
            raise StateError(
                kind_of(error), f"cannot write {self.path}: {error.strerror}; check the disk"
            ) from error
        return True

    def release(self) -> bool:
        """Gives its space back; false when there was nothing to give. Raises StateError."""
        try:
            os.truncate(self.path, 0)  # unlike unlinking, it needs no new space anywhere
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StateError(
                kind_of(error), f"cannot give back {self.path}: {error.strerror}"
            ) from error
        return True


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
