"""What becomes of a picture's file once its record is on the disk: kept, moved or deleted."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path, PurePath
from typing import Literal

from edge.config import After
from edge.errors import StateError
from edge.inbox import FoundFile
from edge.state import StateFolder, kind_of, sync_folder
from edge.store_media import ArchiveKey


def dispose(
    state: StateFolder,
    file: FoundFile,
    key: ArchiveKey,
    after: Literal[After.move, After.delete],
) -> str | None:
    """Where the file went, relative to the state folder, or 'deleted'; None: it is not ours.

    A file that changed since it was read holds other bytes and is left for the next scan.
    """
    source = Path(file.path)
    try:
        info = source.lstat()
    except FileNotFoundError:
        return None
    if (info.st_size, info.st_mtime_ns) != (file.num_bytes, file.mtime_ns):
        return None
    try:
        if after is After.delete:
            source.unlink()
            return "deleted"
        return _move(state, source, key)
    except OSError as error:
        raise StateError(
            kind_of(error),
            f"cannot {after.value} {file.display}: {error.strerror}; it is recorded, nothing is "
            "lost. Let this user write to the inbox, or use --after keep",
        ) from error


def _move(state: StateFolder, source: Path, key: ArchiveKey) -> str:
    folder = state.archive / f"{key.captured_at:%Y}" / f"{key.captured_at:%m}"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (key.sha256 + PurePath(source.name).suffix.lower())
    if target.exists():  # the same bytes under another name
        source.unlink()
    else:
        _rename(source, target)
        sync_folder(folder)
    return target.relative_to(state.root).as_posix()


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    # Another file system: the copy is on the disk under its name before the source goes.
    temporary = target.with_name(target.name + ".tmp")
    with source.open("rb") as reader, temporary.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())
    temporary.rename(target)
    sync_folder(target.parent)
    source.unlink()
