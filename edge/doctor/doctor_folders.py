"""The doctor's look at the state folder and the inbox: file system, space, rights."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from edge.config import After
from edge.doctor.finding import Examined, Finding, advise, ok, problem, unchecked
from edge.intake.mounts import Mount, mount_of
from edge.record.disk import Space, space
from edge.text import printable

_GOOD = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs"})
_WITHOUT_RIGHTS = frozenset({"vfat", "msdos", "exfat", "fuseblk", "ntfs", "ntfs3"})
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "overlay", "aufs", "squashfs"})
_GB = 1e9
_BARELY_BYTES, _LITTLE_BYTES = 0.1 * _GB, 1.0 * _GB
_BARELY_FILES, _LITTLE_FILES = 1000, 20_000


def _mount_of(place: Path) -> Mount:
    mount = mount_of(str(place.resolve()))
    if mount is None:
        raise OSError(f"no mount is known for {printable(str(place))}")
    return mount


def _space_of(place: Path) -> Space:
    left = space(place)
    if left is None:
        raise OSError(f"{printable(str(place))} does not tell what is free")
    return left


def check_file_system(examined: Examined) -> Finding:
    place = nearest(examined.folder.root)
    mount = _mount_of(place)
    said = f"the state folder {_shown(examined.folder.root)} is on {mount.fs_type}"
    move = "put the state on a Linux disk (ext4) of this machine: --state DIR, or its own partition"
    if mount.is_read_only:
        return problem(
            "file system",
            f"{said}, mounted read-only at {printable(mount.point)}",
            "the system does so when a card fails: `dmesg | tail` says why; copy what is there "
            "and replace the card",
        )
    if mount.fs_type in _WITHOUT_RIGHTS:
        return problem("file system", f"{said}, which a power cut can leave broken", move)
    if mount.fs_type in _NETWORK or mount.fs_type.startswith("fuse."):
        return problem("file system", f"{said}, where locks and syncs do not hold", move)
    if mount.fs_type in _IN_MEMORY:
        return problem("file system", f"{said}, which is gone after a restart", move)
    if mount.fs_type not in _GOOD:
        return advise("file system", f"{said}, which was not tried", move)
    return ok("file system", said)


def check_space(examined: Examined) -> Finding:
    left = _space_of(nearest(examined.folder.root))
    files = "" if left.free_files is None else f", room for {left.free_files:,} files"
    said = f"{left.free_bytes / _GB:.1f} GB free{files}"
    num_files = _LITTLE_FILES if left.free_files is None else left.free_files
    advice = "copy old pictures away and delete them, or set archive_days in the settings"
    if left.free_bytes < _BARELY_BYTES or num_files < _BARELY_FILES:
        return problem("space", f"{said}: the disk is full", advice)
    if left.free_bytes < _LITTLE_BYTES or num_files < _LITTLE_FILES:
        return advise("space", f"{said}: little", advice)
    return ok("space", said)


def check_state_rights(examined: Examined) -> Finding:
    folder = examined.folder.root
    if not folder.exists():
        return advise(
            "state folder",
            f"{_shown(folder)} is not there yet; edge-watch makes it",
            "if the device has sightings elsewhere, name their folder with --state DIR",
        )
    found = folder.stat()
    if found.st_mode & stat.S_IWOTH:
        return problem(
            "state folder",
            f"everybody on this machine may write to {_shown(folder)}",
            f"`sudo chmod o-w {_shown(folder)}`",
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        owner = _owner(found.st_uid)
        return unchecked(
            "state folder",
            f"this user may not use {_shown(folder)}, it belongs to {owner}",
            f"run the doctor as that user: `sudo -u {owner} edge-admin doctor --state "
            f"{_shown(folder)}`",
        )
    return ok("state folder", f"{_shown(folder)} can be read and written by this user")


def check_inbox(examined: Examined) -> Finding:
    if examined.inbox is None:
        return unchecked("inbox", "nobody has said where it is", "name it: --inbox DIR")
    shown = _shown(examined.inbox)
    if not examined.inbox.is_dir():
        return problem(
            "inbox",
            f"{shown} is no folder that can be seen",
            "make it, or mount the disk that holds it, or name another with --inbox DIR",
        )
    if not os.access(examined.inbox, os.R_OK | os.X_OK):
        return problem(
            "inbox",
            f"this user may not read {shown}",
            "add the user of the service to the group of the inbox: "
            "`sudo usermod -aG edge-inbox edge-watch`, then restart the service",
        )
    after = examined.settings.after
    if after is not After.keep and not os.access(examined.inbox, os.W_OK):
        return problem(
            "inbox",
            f'after = "{after.value}" needs an inbox that can be written, {shown} cannot',
            'allow it with chmod or ReadWritePaths=, or set after = "keep"',
        )
    return ok("inbox", f"{shown} can be read, on {_mount_of(examined.inbox).fs_type}")


def nearest(path: Path) -> Path:
    """The path, or the folder in which it would be made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _owner(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _shown(path: Path) -> str:
    return printable(str(path))
