"""What becomes of a picture's file once its record is on the disk: kept, moved or deleted."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path, PurePath
from typing import Literal

from edge.config import After
from edge.errors import StateError, StateKind
from edge.intake.inbox import FoundFile
from edge.record.state import StateFolder, copy_file, kind_of, make_folder, sync_folder
from edge.record.store_archive import ArchiveKey

_READ_BYTES = 1 << 20
_ADVICE: dict[StateKind, str] = {
    "full": "The disk is full: free some space, or set archive_min_free_mb",
    "read-only": "Let this user write to the inbox and to the state folder, or use --after keep",
}


def dispose(
    state: StateFolder,
    file: FoundFile,
    key: ArchiveKey,
    after: Literal[After.move, After.delete],
) -> str | None:
    """Where the file went, relative to the state folder, or 'deleted'; None: it is not ours.

    A file that changed since it was read holds other bytes and is left for the next scan; one
    that is gone is nobody's. Raises StateError.
    """
    source = Path(file.path)
    try:
        info = source.lstat()
        if (info.st_size, info.st_mtime_ns) != (file.num_bytes, file.mtime_ns):
            return None
        if after is After.delete:
            source.unlink()
            return "deleted"
        return _move(state, source, key)
    except FileNotFoundError:
        return None
    except OSError as error:
        kind = kind_of(error)
        advice = _ADVICE.get(kind, "Check the disks, or use --after keep")
        raise StateError(
            kind,
            f"cannot {after.value} {file.display}: {error.strerror}; it is recorded, nothing is "
            f"lost. {advice}",
        ) from error


def _move(state: StateFolder, source: Path, key: ArchiveKey) -> str:
    folder = state.archive / f"{key.captured_at:%Y}" / f"{key.captured_at:%m}"
    make_folder(folder)
    target = folder / (key.sha256 + PurePath(source.name).suffix.lower())
    if _holds(target, key.sha256):  # the same bytes under another name
        source.unlink()
    else:  # none, or one that the disk damaged
        _rename(source, target)
    return target.relative_to(state.root).as_posix()


def _holds(path: Path, sha256: str) -> bool:
    """Whether the file is there with these very bytes: its name alone proves nothing."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_READ_BYTES):
                digest.update(part)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == sha256


def _rename(source: Path, target: Path) -> None:
    """Who wrote the file need not have synced it: without this a power cut leaves it empty."""
    _sync(source)
    try:
        source.rename(target)
        sync_folder(target.parent)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    # Another file system: the copy is on the disk under its name before the source goes.
    copy_file(source, target)
    source.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
