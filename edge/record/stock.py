"""What lies in the archive beside what the record says of it, compared once at each start.

A crash between a file's move and its note leaves a file that no record names; damage to the
database's journal may take the record and leave the file. The first is noted, the second goes
back into the inbox and is recorded anew.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError
from edge.intake.mounts import intended_mount, mount_of
from edge.record import store_archive
from edge.record.state import StateFolder, copy_file, kind_of, make_folder, sync_folder
from edge.record.store import Store

RECOVERED = "recovered"  # the folder in the inbox; the camera's own name went with the record
_NAME = re.compile(r"[0-9a-f]{64}\..+")


@dataclass(frozen=True, kw_only=True)
class Stock:
    num_noted: int  # files whose move was not recorded
    num_returned: int  # files without a record, now in INBOX/recovered

    @property
    def sentence(self) -> str | None:
        if not self.num_returned:
            return None
        return (
            f"{self.num_returned} files of the archive have no record (a damaged database lost "
            f"it); they are put into the folder '{RECOVERED}' of the inbox and recorded anew. "
            "Which camera they came from is not known any more"
        )


def take_stock(store: Store, state: StateFolder, inbox: Path) -> Stock:
    """Needs the lock. Raises StateError where a disk refuses.

    Where the inbox's disk is not mounted, what would go there waits for the next start.
    """
    unnamed = _unnamed(state, store_archive.archived_names(store))
    with store.transaction():
        lost = [path for path in unnamed if not _note(store, state, path)]
    returned = lost if lost and _is_there(inbox) else []
    for path in returned:
        _give_back(path, inbox / RECOVERED)
    return Stock(num_noted=len(unnamed) - len(lost), num_returned=len(returned))


def _is_there(inbox: Path) -> bool:
    place = os.path.realpath(inbox)
    mount, wanted = mount_of(place), intended_mount(place)
    is_mounted = mount is None or wanted is None or len(mount.point) >= len(wanted)
    return is_mounted and inbox.is_dir()


def _unnamed(state: StateFolder, known: set[str]) -> list[Path]:
    """What a crash left half-copied goes; the archive's own files that no record names."""
    found = []
    for path in _files(state.archive):
        if path.endswith(".tmp"):
            Path(path).unlink(missing_ok=True)
        elif _NAME.fullmatch(os.path.basename(path)):  # noqa: PTH119
            if os.path.relpath(path, state.root) not in known:
                found.append(Path(path))
    return sorted(found)


def _files(folder: Path) -> Iterator[str]:
    """As text: a season's archive has 100,000 files and more."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield entry.path


def _note(store: Store, state: StateFolder, path: Path) -> bool:
    """Whether a record of these bytes is there; then the file is noted with the name it had."""
    sha256 = path.stem
    left = store_archive.paths_left(store, sha256)
    if left is None:
        return False
    name = path.relative_to(state.root).as_posix()
    for one in left:
        if not os.path.lexists(one):
            store_archive.note_archived(store, sha256, one, name)
    return True


def _give_back(path: Path, folder: Path) -> None:
    make_folder(folder)
    target = folder / path.name
    try:
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy_file(path, target)
            path.unlink()
    except OSError as error:
        raise StateError(
            kind_of(error),
            f"cannot move {path}, of which there is no record, into {folder}: {error.strerror}; "
            "let this user write to the inbox, or use --after keep",
        ) from error
    sync_folder(folder)
