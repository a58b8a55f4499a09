"""The graph of a model as onnxruntime optimised it for this machine, kept for the next start.

An entry of the cache is a folder: the graph, its weights beside it (mapped into memory rather than
read, so they need no second copy), and a record of what they are. Entries are named by all that
they depend on, made under another name and renamed, and believed only where this user alone can
write and every byte is as it was written. Derived data: a missing, stale or damaged entry is made
anew from the model file. Does not cover which provider is used (edge/compute/choice.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge import model
from edge.compute import runtime
from edge.compute.session import CPU, SETTINGS
from edge.errors import ModelError
from edge.model import Manifest

FORMAT = 1  # of an entry
_GRAPH, _RECORD = "graph.onnx", "record.json"
_NUM_KEPT = 2  # entries: the model in use, and the one before it
_TEMPORARY = ".tmp"
_ABANDONED_SECONDS = 3600.0  # so old, what is half-made belongs to nobody any more
_CHUNK_BYTES = 1 << 20
_COPIES_THAT_FIT = 3  # of the model: disk space that must be free to keep one


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What an entry is made of, and for what."""

    format: int
    depends_on: dict[str, str]
    files: dict[str, str]  # name to sha256
    manifest: str  # of the model file, as it was found to be right


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A believed entry."""

    seal: str  # sha256 of the model file but for its seal
    manifest: Manifest
    graph: Path

    def forget(self) -> None:
        """It did not do."""
        _remove(self.graph.parent)


def recall(folder: Path, path: Path) -> Kept | None:
    """The entry of a model file, which is read and checked against its seal meanwhile.

    None where there is none to be believed; what is wrong with the model is for others to say.
    """
    seal, num_bytes = _claim(path)
    if seal is None:
        return None
    with ThreadPoolExecutor(1) as background:  # hashing lets others run
        own = background.submit(_sha256, path, num_bytes)
        kept = find(folder, seal)
        return kept if own.result() == seal else None


def find(folder: Path, seal: str) -> Kept | None:
    """The entry of the model with that seal, every byte as it was written; None where it is not."""
    entry = folder / _key(seal)
    record = _read_record(entry, seal)
    if record is None:
        return None
    if any(_sha256(entry / name, None) != sha256 for name, sha256 in record.files.items()):
        return None
    try:
        manifest = model.manifest_from_json(record.manifest)
    except ModelError:
        return None  # of another release; the model file will be refused with the reason
    with suppress(OSError):  # on a disk that cannot be written nothing is removed for its age
        os.utime(entry)
    return Kept(seal=seal, manifest=manifest, graph=entry / _GRAPH)


def keep(
    folder: Path, seal: str, manifest: Manifest, num_bytes: int, save: Callable[[Path], None]
) -> Kept:
    """The optimised graph of a checked model file, which `save` writes to the path it is given.

    `num_bytes` is the size of that file. Raises ModelError, and leaves nothing behind, where the
    graph cannot be kept.
    """
    entry = folder / _key(seal)
    temporary = folder / f"{entry.name}.{os.getpid()}{_TEMPORARY}"
    try:
        make_own(folder)
        if shutil.disk_usage(folder).free < _COPIES_THAT_FIT * num_bytes:
            raise ModelError("too little free space")
        _remove(temporary)
        temporary.mkdir(mode=0o700)
        save(temporary / _GRAPH)
        record = _Record(
            format=FORMAT,
            depends_on=_depends_on(seal),
            files={one.name: _sha256(one, None) or "" for one in sorted(temporary.iterdir())},
            manifest=model.manifest_to_json(manifest),
        )
        (temporary / _RECORD).write_bytes(_sealed(record))
        _remove(entry)
        temporary.rename(entry)
        _sweep(folder, entry, seal)
    except OSError as error:
        raise ModelError(error.strerror or str(error)) from error
    finally:
        _remove(temporary)
    return Kept(seal=seal, manifest=manifest, graph=entry / _GRAPH)


def forget(folder: Path, seal: str) -> None:
    """Removes the entry of a model, if there is one."""
    _remove(folder / _key(seal))


def _key(seal: str) -> str:
    whole = json.dumps(_depends_on(seal), sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _depends_on(seal: str) -> dict[str, str]:
    """Not on the number of threads: the same graph serves any."""
    return {
        "format": str(FORMAT),
        "model": seal,
        "runtime": runtime.runtime(),
        "machine": runtime.machine(),
        "provider": CPU,
        "settings": json.dumps(SETTINGS, sort_keys=True),
    }


def _claim(path: Path) -> tuple[str | None, int]:
    """(the sha256 that the file claims to have but for its seal, the bytes before the seal)."""
    try:
        with path.open("rb") as file:
            num_bytes = file.seek(0, os.SEEK_END) - model.SEAL_BYTES
            file.seek(max(0, num_bytes))
            return model.claimed_seal(file.read(model.SEAL_BYTES)), num_bytes
    except OSError:
        return None, 0  # whoever opens the model next says what is wrong with it


def _read_record(entry: Path, seal: str) -> _Record | None:
    try:
        if not (is_own(entry.parent) and is_own(entry)):
            return None
        whole = (entry / _RECORD).read_bytes()
    except OSError:
        return None
    digest, _, text = whole.partition(b"\n")
    if digest.decode("ascii", "replace") != hashlib.sha256(text).hexdigest():
        return None
    record = _Record(**json.loads(text))
    return record if record.depends_on == _depends_on(seal) else None


def _sealed(record: _Record) -> bytes:
    text = json.dumps(dataclasses.asdict(record), sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def _sha256(path: Path, num_bytes: int | None) -> str | None:
    """Of the first bytes, or all; read piece by piece, as the whole need not be in memory."""
    digest = hashlib.sha256()
    piece = bytearray(_CHUNK_BYTES)
    left = num_bytes
    try:
        with path.open("rb", buffering=0) as file:
            while left is None or left > 0:
                wanted = _CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES)
                got = file.readinto(memoryview(piece)[:wanted])
                if not got:
                    break
                digest.update(memoryview(piece)[:got])
                left = None if left is None else left - got
    except OSError:
        return None
    return digest.hexdigest()


def is_own(folder: Path) -> bool:
    """Whether it is a folder, no link, that this user made and nobody else can write to."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and _is_of_this_user(found) and not found.st_mode & 0o022


def _is_of_this_user(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def make_own(folder: Path) -> None:
    if not folder.exists() and not _is_of_this_user(folder.parent.stat()):
        raise ModelError(f"{folder.parent} belongs to another user")
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_own(folder):
        raise ModelError(f"{folder} is not this user's alone; delete it")


def _sweep(folder: Path, newest: Path, seal: str) -> None:
    """Removes what other versions of program, runtime or machine left, and the oldest models."""
    entries = []
    for one in folder.iterdir():
        if not one.is_dir() or one == newest:
            continue
        if one.name.endswith(_TEMPORARY):
            if time.time() - one.stat().st_mtime > _ABANDONED_SECONDS:
                _remove(one)
        elif _is_current(one, seal):
            entries.append(one)
        else:
            _remove(one)
    entries.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    for one in entries[_NUM_KEPT - 1 :]:
        _remove(one)


def _is_current(entry: Path, seal: str) -> bool:
    """Whether an entry is of this program on this machine, and of another model than `seal`."""
    try:
        text = (entry / _RECORD).read_bytes().partition(b"\n")[2]
        other = str(json.loads(text)["depends_on"]["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return other != seal and entry.name == _key(other)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
