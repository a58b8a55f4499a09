"""The folder where pictures arrive: which files are there, whole and not yet dealt with.

A scan is the truth; what the kernel reports in between is only a hint to scan again. Nothing but
regular files is ever opened, and a file is read once, whole, with a check that nobody wrote to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from edge.errors import InputError, MediaError, MediaReason
from edge.media import MAX_BYTES, is_picture_name
from edge.text import printable

MAX_DEPTH = 8
# What cameras, FTP and SFTP servers, rsync and browsers call a file they have not finished.
_UNFINISHED_SUFFIXES = (".tmp", ".part", ".filepart")
_CLIP_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".wmv"}
)
DIRECT_DEPLOYMENT = "inbox"  # of files that lie in the inbox itself


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    path: str  # absolute; bytes that are not UTF-8 as surrogates, as os.fsdecode makes them
    relative: str  # to the inbox, with forward slashes
    num_bytes: int  # 0 for what is not a file
    mtime_ns: int  # 0 for what is not a file
    problem: tuple[MediaReason, str] | None  # why it must not be opened

    @property
    def path_bytes(self) -> bytes:
        return os.fsencode(self.path)

    @property
    def display(self) -> str:
        return printable(self.path)

    @property
    def deployment_id(self) -> str:
        parts = PurePath(self.relative).parts
        return printable(parts[0]) if len(parts) > 1 else DIRECT_DEPLOYMENT

    @property
    def note(self) -> str | None:
        try:
            self.path.encode("utf-8")
        except UnicodeEncodeError:
            return "name-not-utf8"
        return None


@dataclass(kw_only=True)
class Others:
    """Whole files that are no pictures by their names."""

    num_clips: int = 0
    num_files: int = 0  # neither clips nor pictures


@dataclass(frozen=True, kw_only=True)
class Scan:
    ready: tuple[FoundFile, ...]  # whole, as far as can be seen from outside
    num_unsettled: int  # perhaps still being written
    unusable: frozenset[bytes]  # paths that must not or cannot be opened, finished or not
    others: Others
    is_empty: bool  # not one picture, finished or not


class Inbox:
    """Remembers between scans what is still changing and what is done with."""

    def __init__(self, root: Path, settle_seconds: float) -> None:
        """Raises InputError when the folder is not there or cannot be read."""
        self.root = root.absolute()
        self._settle_seconds = settle_seconds
        self._changing: dict[str, tuple[int, int, float]] = {}  # size, mtime, since (monotonic)
        self._finished: dict[str, tuple[int, int]] = {}
        _require_folder(self.root)

    def scan(self) -> Scan:
        """The files not yet finished, in order of their names."""
        _require_folder(self.root)
        others = Others()
        found = list(_walk(self.root, "", 0, others))
        names = {file.path for file in found}
        self._finished = {p: v for p, v in self._finished.items() if p in names}
        self._changing = {p: v for p, v in self._changing.items() if p in names}
        open_files = [
            file
            for file in found
            if self._finished.get(file.path) != (file.num_bytes, file.mtime_ns)
        ]
        ready = tuple(file for file in open_files if self._is_settled(file))
        return Scan(
            ready=ready,
            num_unsettled=len(open_files) - len(ready),
            unusable=frozenset(file.path_bytes for file in found if file.problem is not None),
            others=others,
            is_empty=not found,
        )

    def finish(self, file: FoundFile) -> None:
        """Not handed out again unless it changes."""
        self._finished[file.path] = (file.num_bytes, file.mtime_ns)
        self._changing.pop(file.path, None)

    def _is_settled(self, file: FoundFile) -> bool:
        if file.problem is not None:
            return True
        clock = time.monotonic()
        size, mtime_ns, since = self._changing.get(file.path, (-1, -1, clock))
        if (size, mtime_ns) != (file.num_bytes, file.mtime_ns):
            since = clock
            self._changing[file.path] = (file.num_bytes, file.mtime_ns, since)
        age = time.time() - file.mtime_ns / 1e9  # negative where a camera's clock is ahead
        return max(age, clock - since) >= self._settle_seconds


def _require_folder(root: Path) -> None:
    try:
        with os.scandir(root):
            pass
    except FileNotFoundError as error:
        raise InputError(f"the inbox {root} does not exist; make it or give another") from error
    except NotADirectoryError as error:
        raise InputError(f"the inbox {root} is not a folder; give the folder of it") from error
    except OSError as error:
        raise InputError(
            f"the inbox {root} cannot be read ({error.strerror}); allow this user to read it, "
            f"for example `sudo chmod a+rx {root}`"
        ) from error


def _walk(folder: Path, relative: str, depth: int, others: Others) -> Iterator[FoundFile]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return  # taken away since its parent was listed
    except OSError as error:
        yield _unusable(folder, relative, "unreadable", error.strerror or str(error))
        return
    for entry in entries:
        if not _is_unfinished(entry.name):
            yield from _look_at(entry, relative + entry.name, depth, others)


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(_UNFINISHED_SUFFIXES)


def _look_at(
    entry: os.DirEntry[str], relative: str, depth: int, others: Others
) -> Iterator[FoundFile]:
    path = Path(entry.path)
    try:
        info = entry.stat(follow_symlinks=False)
        leads_to_folder = entry.is_symlink() and entry.is_dir()
    except OSError:
        return  # taken away since its folder was listed
    if is_picture_name(entry.name) and stat.S_ISREG(info.st_mode):
        yield FoundFile(
            path=entry.path,
            relative=relative,
            num_bytes=info.st_size,
            mtime_ns=info.st_mtime_ns,
            problem=None,
        )
    elif is_picture_name(entry.name) or leads_to_folder:
        yield _unusable(path, relative, "not-a-file", _kind_of_file(info.st_mode))
    elif stat.S_ISDIR(info.st_mode) and depth + 1 > MAX_DEPTH:
        yield _unusable(path, relative, "unreadable", f"folders are read {MAX_DEPTH} deep")
    elif stat.S_ISDIR(info.st_mode):
        yield from _walk(path, relative + "/", depth + 1, others)
    elif stat.S_ISREG(info.st_mode) and path.suffix.lower() in _CLIP_SUFFIXES:
        others.num_clips += 1
    elif stat.S_ISREG(info.st_mode):
        others.num_files += 1


def _unusable(path: Path, relative: str, reason: MediaReason, detail: str) -> FoundFile:
    return FoundFile(
        path=str(path),
        relative=relative.rstrip("/"),
        num_bytes=0,
        mtime_ns=0,
        problem=(reason, detail),
    )


def _kind_of_file(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link (links are not followed)"
    if stat.S_ISDIR(mode):
        return "a folder with a picture's name"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def read_file(file: FoundFile) -> bytes | None:
    """The whole file; None while somebody writes to it or when it is gone.

    Raises MediaError when it is not a regular file or cannot be read.
    """
    # O_NONBLOCK: opening a pipe that was put in the file's place must not wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(file.path_bytes, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise MediaError("not-a-file", "a symbolic link (links are not followed)") from error
        raise MediaError("unreadable", error.strerror or str(error)) from error
    try:
        return _read_open_file(descriptor, file)
    except OSError as error:
        raise MediaError("unreadable", error.strerror or str(error)) from error
    finally:
        os.close(descriptor)


def _read_open_file(descriptor: int, file: FoundFile) -> bytes | None:
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        raise MediaError("not-a-file", _kind_of_file(info.st_mode))
    if not _is_unchanged(info, file) or _has_writer(descriptor):
        return None
    if info.st_size > MAX_BYTES:
        raise MediaError("too-large", f"more than {MAX_BYTES // 2**20} MB")
    parts: list[bytes] = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
        if sum(map(len, parts)) > info.st_size:
            return None
    data = b"".join(parts)
    whole = len(data) == info.st_size and _is_unchanged(os.fstat(descriptor), file)
    return data if whole else None


def _is_unchanged(info: os.stat_result, file: FoundFile) -> bool:
    return (info.st_size, info.st_mtime_ns) == (file.num_bytes, file.mtime_ns)


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
