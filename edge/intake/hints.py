"""When to look into the inbox again: what the kernel reports, or where it does not, a cheap look.

Only a hint: the kernel drops reports when many come at once, and of a network disk it knows
nothing. The periodic scan finds what is missed here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import watchfiles

from edge.intake.mounts import mount_of
from edge.intake.walk import MAX_DEPTH
from edge.text import printable

_MAX_FOLDERS = 1000  # watched one by one; beyond, only the scan remains
_LOOK_SECONDS = 5.0  # between two looks at folders that report nothing
_GATHER_MS = 500  # reports of one upload come together
# The kernel's queue holds 16,384 reports and drops the rest; so many at once may not be all.
_MANY_REPORTS = 4096
Tell = Callable[[str], None]


def hints(
    root: Path,
    stop: threading.Event,
    *,
    tick_seconds: float,
    rescan_seconds: float,
    tell: Tell,
) -> Iterator[object]:
    """Yields what changed, something empty every tick; silent only in between.

    The first thing yielded is never empty: what came before the watch began is found by a scan.
    A watch is begun anew when a folder comes or the inbox's disk is changed.
    """
    told: str | None = None
    while not stop.is_set():
        why_not = _why_silent(root)
        if why_not is None:
            try:
                yield from _reported(root, stop, tick_seconds)
                continue
            except FileNotFoundError:
                continue  # a folder went before its watch began
            except (OSError, RuntimeError) as error:
                # Also raised for one name that is not UTF-8; hence the watch is tried again.
                why_not = f"the system does not report new files here ({printable(str(error))})"
        if why_not != told:
            tell(f"{why_not}; the inbox is searched every {rescan_seconds:g} s instead")
            told = why_not
        yield from _looked_for(root, stop, tick_seconds, rescan_seconds)


def _why_silent(root: Path) -> str | None:
    mount = mount_of(os.path.realpath(root))
    if mount is not None and mount.is_remote:
        return f"a {mount.fs_type} disk does not report new files"
    return None if _is_utf8(str(root)) else "an inbox whose name is not UTF-8 cannot be watched"


def _reported(root: Path, stop: threading.Event, tick_seconds: float) -> Iterator[object]:
    """What the kernel reports, until the folders to be watched are others.

    The folders are named one by one, as a watch of a whole tree follows links out of it.
    """
    identity = _identity(root)
    if identity is None:
        stop.wait(tick_seconds)
        yield ()
        return
    folders = _folders(root)
    again_at: float | None = time.monotonic()
    for changes in watchfiles.watch(
        *folders,
        watch_filter=None,
        debounce=_GATHER_MS,
        stop_event=stop,
        rust_timeout=int(tick_seconds * 1000),
        yield_on_timeout=True,
        recursive=False,
    ):
        if len(changes) > _MANY_REPORTS:
            again_at = time.monotonic() + _LOOK_SECONDS
        is_again = again_at is not None and time.monotonic() >= again_at
        yield changes or ((root,) if is_again else ())
        if is_again:
            again_at = None
        if _identity(root) != identity or (changes and _folders(root) != folders):
            return


def _looked_for(
    root: Path, stop: threading.Event, tick_seconds: float, seconds: float
) -> Iterator[object]:
    """Whether the folders' own times changed, for so long or until the disk is another.

    A folder's time changes with every name that comes into it, on its server too.
    """
    identity, seen, looked_at = _identity(root), _stamps(root), time.monotonic()
    until = looked_at + seconds
    yield (root,)
    while not stop.wait(tick_seconds) and time.monotonic() < until:
        if time.monotonic() - looked_at < _LOOK_SECONDS:
            yield ()
            continue
        looked_at = time.monotonic()
        now = _stamps(root)
        changed = [folder for folder in now if now[folder] != seen.get(folder)]
        seen = now
        yield changed
        if _identity(root) != identity:
            return


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        info = root.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _stamps(root: Path) -> dict[str, int]:
    stamps: dict[str, int] = {}
    for folder in _folders(root):
        try:
            stamps[folder] = os.stat(folder, follow_symlinks=False).st_mtime_ns  # noqa: PTH116
        except OSError:
            stamps[folder] = 0  # gone since it was listed; the next look notices
    return stamps


def _folders(root: Path) -> list[str]:
    """The root and the real folders below it, nearest first, as deep as a scan goes."""
    folders = level = [str(root)]
    for _ in range(MAX_DEPTH):
        level = [inner for folder in level for inner in _inner(folder)]
        folders = folders + level
        if not level or len(folders) > _MAX_FOLDERS:
            break
    return folders[:_MAX_FOLDERS]


def _inner(folder: str) -> list[str]:
    """Sub-folders that are no links; names that are not UTF-8 cannot be watched."""
    try:
        with os.scandir(folder) as listing:
            found = [one.path for one in listing if one.is_dir(follow_symlinks=False)]
    except OSError:
        return []  # gone or unreadable: the scan says so
    return sorted(path for path in found if _is_utf8(path))


def _is_utf8(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
