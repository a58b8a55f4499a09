"""Opening and reading one file of the inbox: whole, unchanged, nobody writing to it, no link."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from edge.decoding.limits import MAX_CLIP_BYTES
from edge.errors import MediaError, MediaReason
from edge.intake.complete import find_missing
from edge.intake.walk import FoundFile, kind_of_file, opened_folder
from edge.media import MAX_BYTES

# O_NONBLOCK: opening a pipe that was put in the file's place must not wait for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Gone, moved on its server, or no means left to open it: the next scan tells.
_NOT_NOW = frozenset(
    {errno.ENOENT, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
)


class IncompleteError(Exception):
    """The file is quiet, but its end is missing. Caught by the inbox, which waits for it."""

    def __init__(self, reason: MediaReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: MediaReason = reason
        self.detail = detail


def open_file(root: str, file: FoundFile) -> int | None:
    """A descriptor of the file as it was found; None where it changed, went or has a writer.

    Raises MediaError when it is not a regular file or cannot be read, IncompleteError when its
    end is missing. The caller closes it.
    """
    descriptor = _open(root, file)
    if descriptor is None:
        return None
    is_ready = False
    try:
        is_ready = _is_ready(descriptor, file)
    except OSError as error:
        raise MediaError("unreadable", error.strerror or str(error)) from error
    finally:
        if not is_ready:
            os.close(descriptor)
    return descriptor if is_ready else None


def read_whole(root: str, file: FoundFile) -> bytes | None:
    """The bytes of the file as it was found; None and errors as of `open_file`."""
    descriptor = open_file(root, file)
    if descriptor is None:
        return None
    try:
        return _read(descriptor, file)
    except OSError as error:
        raise MediaError("unreadable", error.strerror or str(error)) from error
    finally:
        os.close(descriptor)


def _read(descriptor: int, file: FoundFile) -> bytes | None:
    most = MAX_CLIP_BYTES if file.is_clip else MAX_BYTES
    if file.num_bytes > most:
        raise MediaError("too-large", f"more than {most // 2**20} MB")
    parts, num_left = [], file.num_bytes + 1  # one more, to notice that it grew
    while num_left and (part := os.read(descriptor, num_left)):
        parts.append(part)
        num_left -= len(part)
    data = b"".join(parts)  # no copy of a single part
    whole = len(data) == file.num_bytes and is_unchanged(descriptor, file)
    return data if whole else None


def is_unchanged(descriptor: int, file: FoundFile) -> bool:
    """Whether an open file still has the size and time it was found with."""
    info = os.fstat(descriptor)
    return (info.st_size, info.st_mtime_ns) == (file.num_bytes, file.mtime_ns)


def _open(root: str, file: FoundFile) -> int | None:
    try:
        with opened_folder(root, file.relative) as folder:
            return os.open(file.relative.rpartition("/")[2], _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in _NOT_NOW:
            return None
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise MediaError("not-a-file", "a symbolic link (links are not followed)") from error
        if error.errno == errno.ENXIO:
            raise MediaError("not-a-file", "a device or socket") from error
        raise MediaError("unreadable", error.strerror or str(error)) from error


def _is_ready(descriptor: int, file: FoundFile) -> bool:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise MediaError("not-a-file", kind_of_file(mode))
    if not is_unchanged(descriptor, file) or _has_writer(descriptor):
        return False
    missing = find_missing(
        lambda offset, length: os.pread(descriptor, length, offset), file.num_bytes
    )
    if missing is not None:
        raise IncompleteError(*missing)
    return True


def _has_writer(descriptor: int) -> bool:
    """Whether a process has the file open for writing, where the kernel tells.

    A read lease is refused with EAGAIN while a writer holds the file. Elsewhere (another user's
    file, a network mount) nothing is learned and the settling time must do.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
