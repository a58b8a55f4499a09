"""Which files lie in a folder and below it, without opening one or following a link.

Folders are opened one inside the other, so that one which is swapped for a link meanwhile leads
nowhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.decoding.container import CLIP_SUFFIXES
from edge.errors import MediaReason
from edge.media import PICTURE_SUFFIXES
from edge.text import printable

MAX_DEPTH = 8
DIRECT_DEPLOYMENT = "inbox"  # of files that lie in the inbox itself
# What cameras, FTP and SFTP servers, rsync and browsers call a file they have not finished; those
# of ProFTPD (.in.*), pure-ftpd (.pureftpd-upload.*) and rsync (.NAME.XXXXXX) begin with a dot.
_UNFINISHED_SUFFIXES = (
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".upload", ".crdownload", ".download",
)  # fmt: skip
# Waste bins and previews that systems put beside pictures.
_SYSTEM_FOLDERS = frozenset({"$RECYCLE.BIN", "System Volume Information", "@eaDir", "lost+found"})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
_OUT_OF_MEANS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@dataclass(frozen=True, kw_only=True, slots=True)  # thousands of them are held at once
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
        folder, slash, _ = self.relative.partition("/")
        return printable(folder) if slash else DIRECT_DEPLOYMENT

    @property
    def is_clip(self) -> bool:
        """By its name; only a look inside tells."""
        return suffix(self.relative) in CLIP_SUFFIXES

    @property
    def note(self) -> str | None:
        try:
            self.path.encode("utf-8")
        except UnicodeEncodeError:
            return "name-not-utf8"
        return None


@dataclass(kw_only=True)
class Others:
    """What a walk passed by its names."""

    num_files: int = 0  # neither clips nor pictures


def suffix(name: str) -> str:
    """`.jpg` of `IMG.1.JPG`."""
    stem, dot, end = name.rpartition(".")
    return "." + end.lower() if stem and dot else ""


def is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(_UNFINISHED_SUFFIXES)


def walk(root: str, others: Others) -> Iterator[FoundFile]:
    """Every picture and clip, in the order the file system has them, and what cannot be used.

    Raises OSError when the root itself cannot be read.
    """
    descriptor = os.open(root, _FOLDER)
    try:
        yield from _walk(descriptor, root + "/", "", 0, others)
    finally:
        os.close(descriptor)


def _walk(
    descriptor: int, root: str, relative: str, depth: int, others: Others
) -> Iterator[FoundFile]:
    folders: list[str] = []
    with os.scandir(descriptor) as listing:
        for entry in listing:
            if is_unfinished(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False) and not _is_media_name(entry.name):
                folders.append(entry.name)
                continue
            found = _look_at(entry, root, relative, others)
            if found is not None:
                yield found
    for name in sorted(folders):
        if name not in _SYSTEM_FOLDERS:
            yield from _enter(descriptor, name, root, relative + name, depth + 1, others)


def _enter(
    parent: int, name: str, root: str, relative: str, depth: int, others: Others
) -> Iterator[FoundFile]:
    if depth > MAX_DEPTH:
        yield _unusable(root, relative, "unreadable", f"folders are read {MAX_DEPTH} deep")
        return
    try:
        descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        try:
            yield from _walk(descriptor, root, relative + "/", depth, others)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return  # taken away since its parent was listed
    except OSError as error:
        if error.errno in _OUT_OF_MEANS:
            raise
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):  # else swapped since: the next scan's
            yield _unusable(root, relative, "unreadable", error.strerror or str(error))


def _look_at(entry: os.DirEntry[str], root: str, relative: str, others: Others) -> FoundFile | None:
    try:
        info = entry.stat(follow_symlinks=False)
        leads_to_folder = stat.S_ISLNK(info.st_mode) and entry.is_dir()
    except OSError:
        return None  # taken away since its folder was listed
    relative += entry.name
    is_file = stat.S_ISREG(info.st_mode)
    end = suffix(entry.name)
    if is_file and (end in PICTURE_SUFFIXES or end in CLIP_SUFFIXES):
        return FoundFile(
            path=root + relative,
            relative=relative,
            num_bytes=info.st_size,
            mtime_ns=info.st_mtime_ns,
            problem=None,
        )
    if _is_media_name(entry.name) or leads_to_folder:
        return _unusable(root, relative, "not-a-file", kind_of_file(info.st_mode))
    others.num_files += is_file
    return None


def _is_media_name(name: str) -> bool:
    end = suffix(name)
    return end in PICTURE_SUFFIXES or end in CLIP_SUFFIXES


def _unusable(root: str, relative: str, reason: MediaReason, detail: str) -> FoundFile:
    return FoundFile(
        path=root + relative,
        relative=relative,
        num_bytes=0,
        mtime_ns=0,
        problem=(reason, detail),
    )


def kind_of_file(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link (links are not followed)"
    if stat.S_ISDIR(mode):
        return "a folder with a picture's or clip's name"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


@contextmanager
def opened_folder(root: str, relative: str) -> Iterator[int]:
    """A descriptor of the folder that a file relative to the root lies in.

    No link is followed below the root. Raises OSError (ELOOP or ENOTDIR where one is met).
    """
    descriptor = os.open(root, _FOLDER)
    try:
        for name in relative.split("/")[:-1]:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)
