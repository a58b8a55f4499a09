"""Which file system a folder lies on, as far as the kernel's list of mounts tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/self/mountinfo")
FSTAB = Path("/etc/fstab")
# Changes made on their other side are reported to nobody here, and they can stop answering.
_REMOTE = frozenset(
    "9p afs beegfs ceph cifs coda davfs fuse glusterfs lustre ncpfs nfs nfs4 orangefs prl_fs "
    "smb3 smbfs vboxsf virtiofs vmhgfs".split()
)
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, kw_only=True)
class Mount:
    point: str  # where it begins
    fs_type: str  # as the kernel calls it: ext4, nfs4, fuse.sshfs
    is_read_only: bool

    @property
    def is_remote(self) -> bool:
        """A FUSE file system may be one (`fuseblk`, a disk in this machine, is not)."""
        return self.fs_type.partition(".")[0] in _REMOTE


def mount_of(path: str, mounts: Path = MOUNTS) -> Mount | None:
    """The mount that an absolute path without links lies on; None where the kernel does not tell.

    The path itself is not touched: this answers also while its disk does not.
    """
    found: Mount | None = None
    for line in _lines(mounts):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kind) < 3:
            continue
        point = _unescape(fields[4])
        # The last of several on one place lies on top.
        if _is_in(path, point) and (found is None or len(point) >= len(found.point)):
            read_only = "ro" in fields[5].split(",") or "ro" in kind[-1].split(",")
            found = Mount(point=point, fs_type=kind[0], is_read_only=read_only)
    return found


def intended_mount(path: str, fstab: Path = FSTAB) -> str | None:
    """The place at or above the path where /etc/fstab wants a disk; None where it names none."""
    points = [
        _unescape(fields[1])
        for fields in (line.split() for line in _lines(fstab))
        if len(fields) >= 3 and not fields[0].startswith("#")
    ]
    above = [one for one in points if one.startswith("/") and one != "/" and _is_in(path, one)]
    return max(above, key=len, default=None)


def _is_in(path: str, point: str) -> bool:
    return PurePosixPath(path).is_relative_to(point)


def _unescape(text: str) -> str:
    """Spaces and the like are written as octal numbers."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []  # another system, or not allowed: nothing is known then
