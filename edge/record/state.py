"""The state folder of a device: its files, its lock, and how a file is written for good.

Does not cover the database inside it (edge/record/store.py).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError, StateKind

_TEMPORARY_SUFFIX = ".tmp"
_COPY_BYTES = 1 << 20
_FULL = "free some space, then start again"
_NO_RIGHT = "let this user write to the state folder, or run the command as the user it belongs to"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "the disk is mounted read-only: mount it writable, then start again",
}
_KINDS: dict[int, StateKind] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EACCES: "read-only",
    errno.EPERM: "read-only",
    errno.EROFS: "read-only",
    errno.EIO: "io",
}
_OTHER_ADVICE = "check the disk, then start again"


@dataclass(frozen=True, kw_only=True)
class StateFolder:
    root: Path

    @property
    def database(self) -> Path:
        return self.root / "edge.db"

    @property
    def crops(self) -> Path:
        return self.root / "crops"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def restored(self) -> Path:
        """There only while a restored database is put in place."""
        return self.root / "edge.db.restored"

    @property
    def cache(self) -> Path:
        """What can be made again: optimised graphs, what was measured."""
        return self.root / "cache"

    @property
    def ballast(self) -> Path:
        return self.root / "ballast"

    @property
    def model(self) -> Path:
        return self.root / "model.onnx"

    @property
    def previous_model(self) -> Path:
        return self.root / "model.previous.onnx"

    @property
    def outgoing_model(self) -> Path:
        """There only while another model is put in place."""
        return self.root / "model.outgoing.onnx"

    def crop(self, name: str) -> Path:
        return self.crops / f"{name}.jpg"


def find_state(flag: Path | None) -> StateFolder:
    """The folder of --state, else of $STATE_DIRECTORY (systemd sets it), else the user's own."""
    if flag is not None:
        return StateFolder(root=flag)
    from_systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if from_systemd:
        return StateFolder(root=Path(from_systemd))
    return StateFolder(root=Path.home() / ".local" / "state" / "edge-watch")


@contextmanager
def locked(state: StateFolder) -> Iterator[None]:
    """Makes the folder and holds it for one writer; raises StateError when there is another."""
    try:
        state.crops.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StateError(
            kind_of(error),
            f"cannot write to the state folder {state.root}: {error.strerror}; "
            "give another one with --state DIR",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(
                "in-use",
                f"the state folder {state.root} is in use by another edge-watch or edge-gallery; "
                "stop that one first, or give another folder with --state DIR",
            ) from error
        with _told(state.root):
            _sweep(state)
        yield
    finally:
        os.close(descriptor)


def _sweep(state: StateFolder) -> None:
    """What a crash left half-written. Copies of the database leave more than one file each."""
    for folder in (state.crops, state.root, state.backups):
        for pattern in ("*.tmp", "*.tmp-wal", "*.tmp-shm", "*.tmp-journal"):
            for orphan in folder.glob(pattern):
                orphan.unlink(missing_ok=True)


def write_crops(state: StateFolder, jpegs: Iterable[bytes]) -> None:
    """Files named by the sha256 of their bytes, all on the disk for good when this returns."""
    written = False
    for jpeg in jpegs:
        path = state.crop(crop_name(jpeg))
        if not path.exists():
            _write_synced(path, jpeg)
            written = True
    if written:
        sync_folder(state.crops)


def crop_name(jpeg: bytes) -> str:
    return hashlib.sha256(jpeg).hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """The whole file or none of it, whatever happens meanwhile; on the disk when this returns."""
    _write_synced(path, data)
    sync_folder(path.parent)


def copy_file(source: Path, target: Path) -> None:
    """As `write_file`, from a file that may not fit into memory."""
    temporary = target.with_name(target.name + _TEMPORARY_SUFFIX)
    with _told(target):
        try:
            with source.open("rb") as reader, temporary.open("wb") as writer:
                shutil.copyfileobj(reader, writer, _COPY_BYTES)
                writer.flush()
                os.fsync(writer.fileno())
            temporary.replace(target)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
    sync_folder(target.parent)


def make_folder(path: Path) -> None:
    """The folder and those above it, there for good when this returns."""
    missing = [one for one in (path, *path.parents) if not one.is_dir()]
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(one.parent)


def rename_file(path: Path, new: Path) -> None:
    """`path` under the name `new`, in place of what was there; for good when this returns."""
    with _told(new):
        path.replace(new)
    sync_folder(new.parent)


def remove_file(path: Path) -> None:
    with _told(path):
        path.unlink()
    sync_folder(path.parent)


def _write_synced(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    with _told(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:  # on a full disk half a file would keep others from being whole
            with suppress(OSError):
                temporary.unlink()
            raise


def sync_folder(folder: Path) -> None:
    """Without this a renamed file may be gone after a power cut."""
    with _told(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def kind_of(error: OSError) -> StateKind:
    return _KINDS.get(error.errno or 0, "other")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A fault of the disk as a StateError."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, _OTHER_ADVICE)
        raise StateError(
            kind_of(error),
            f"cannot write {path}: {error.strerror}; {advice} (nothing recorded so far is lost)",
        ) from error
