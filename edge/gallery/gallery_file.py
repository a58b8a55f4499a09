"""A gallery as one file, for another device: animals, pictures, embeddings, log and crops.

A zip of JSON lines and crops. What comes from such a file is checked value by value; no name in it
is ever used as a path, so it can place nothing outside the state folder.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError, StateError
from edge.gallery.gallery_fields import Fields, individual_of, picture_of
from edge.gallery.gallery_state import Exemplar, GalleryState, Individual
from edge.record import store_gallery, store_log
from edge.record.state import StateFolder, crop_name, kind_of, sync_folder
from edge.record.store import Store
from edge.text import printable

FORMAT, VERSION = "fancl-gallery", 1
_HEAD = "gallery.json"
_TABLES = ("individuals.jsonl", "exemplars.jsonl", "embeddings.jsonl", "log.jsonl")
_LOG_COLUMNS = ("seq", "action", "individual_id", "who", "logged_at")
_MAX_TABLE_BYTES = 512 * 1024 * 1024
_MAX_CROP_BYTES = 8 * 1024 * 1024
_MAX_ROWS = 500_000
_LENGTH_TOLERANCE = 0.01  # of an embedding around 1, in half precision
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the same gallery gives the same bytes
# What zipfile raises on damaged, encrypted or odd archives.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
)
Embeddings = dict[str, dict[str, NDArray[np.float16]]]  # by exemplar_id, encoder_id


@dataclass(frozen=True, kw_only=True)
class GalleryFile:
    """What a file says; its crops are still inside it."""

    name: str
    individuals: dict[str, Individual]
    exemplars: dict[str, Exemplar]
    embeddings: Embeddings
    log: list[dict[str, Any]]  # for people: number, action, animal, who, when
    archive: zipfile.ZipFile

    def crop(self, name: str) -> bytes:
        """A crop's bytes; raises InputError when it is not there or not what its name says."""
        jpeg = _read(self.archive, f"crops/{name}.jpg", _MAX_CROP_BYTES)
        if crop_name(jpeg) != name or not jpeg.startswith(b"\xff\xd8"):
            raise InputError(f"{self.name}: the crop {name} is damaged; export the gallery again")
        return jpeg


def write_gallery(store: Store, state: StateFolder, path: Path) -> int:
    """The whole gallery as a file in place of `path`; the number of pictures in it.

    Raises InputError when a crop is not there, StateError when the file cannot be written.
    """
    known = store_log.load(store)
    tables = _tables(store, known)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            _add(archive, _HEAD, json.dumps({"format": FORMAT, "version": VERSION}).encode())
            for name in _TABLES:
                lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in tables[name])
                _add(archive, name, lines.encode())
            for crop in sorted({one.crop for one in known.exemplars.values()}):
                _add(archive, f"crops/{crop}.jpg", _read_crop(state, crop))
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # the stick may be pulled as soon as this is told
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(
            kind_of(error),
            f"cannot write {path}: {error.strerror}; give another place, or free some space",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return len(known.exemplars)


def _tables(store: Store, known: GalleryState) -> dict[str, list[dict[str, Any]]]:
    kept = [one for one in known.individuals.values() if one.status != "undone"]
    embeddings = [
        {
            "exemplar_id": one,
            "encoder_id": encoder_id,
            "embedding": base64.b64encode(embedding).decode("ascii"),
        }
        for one in known.exemplars
        for encoder_id, embedding in store_gallery.embeddings_of(store, one).items()
    ]
    log = [dataclasses.asdict(one) for one in store_log.entries(store)]
    rows = (
        [dataclasses.asdict(one) for one in kept],
        [dataclasses.asdict(one) for one in known.exemplars.values()],
        embeddings,
        [{key: one[key] for key in _LOG_COLUMNS} for one in log],
    )
    return dict(zip(_TABLES, rows, strict=True))


def _read_crop(state: StateFolder, crop: str) -> bytes:
    try:
        return state.crop(crop).read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"the crop {state.crop(crop)} of the gallery is not there; restore STATE/crops from a "
            "backup"
        ) from error


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _FIXED_TIME)
    is_crop = name.startswith("crops/")
    info.compress_type = zipfile.ZIP_STORED if is_crop else zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


@contextmanager
def open_gallery_file(path: Path) -> Iterator[GalleryFile]:
    """The content of a file that `write_gallery` wrote; raises InputError for any other."""
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise InputError(
            f"{path} is no gallery file ({error}); give one that `edge-gallery export` wrote"
        ) from error
    with archive:
        _require_expected_names(archive, path)
        try:
            head = json.loads(_read(archive, _HEAD, 1024))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: its {_HEAD} is not JSON; export it again") from error
        if head != {"format": FORMAT, "version": VERSION}:
            raise InputError(
                f"{path} is no gallery file of version {VERSION}; export it again with the release "
                "of fancl on this device"
            )
        individuals, exemplars, embeddings, log = (_rows(archive, path, one) for one in _TABLES)
        yield GalleryFile(
            name=printable(path.name),
            individuals={one.individual_id: one for one in map(individual_of, individuals)},
            exemplars={one.exemplar_id: one for one in map(picture_of, exemplars)},
            embeddings=_embeddings(embeddings),
            log=[_log_row(one) for one in log],
            archive=archive,
        )


def _require_expected_names(archive: zipfile.ZipFile, path: Path) -> None:
    names = archive.namelist()
    odd = [
        one
        for one in names
        if one not in (_HEAD, *_TABLES) and not re.fullmatch(r"crops/[0-9a-f]{64}\.jpg", one)
    ]
    if odd or len(set(names)) != len(names) or len(names) > _MAX_ROWS:
        what = f"it holds {printable(odd[0])}" if odd else "its names repeat"
        raise InputError(
            f"{path} is no gallery file: {what}; give one that `edge-gallery export` wrote"
        )


def _read(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Never more than allowed is unpacked, whatever size the archive claims."""
    try:
        with archive.open(name) as file:
            data = file.read(max_bytes + 1)
    except (KeyError, *_ZIP_ERRORS) as error:
        raise InputError(
            f"{archive.filename}: {name} cannot be read ({error}); export the gallery again"
        ) from error
    if len(data) > max_bytes:
        raise InputError(f"{archive.filename}: {name} is larger than {max_bytes} bytes")
    return data


def _rows(archive: zipfile.ZipFile, path: Path, table: str) -> list[Fields]:
    rows: list[Fields] = []
    data = io.BytesIO(_read(archive, table, _MAX_TABLE_BYTES))
    for number, line in enumerate(data, start=1):
        if number > _MAX_ROWS:
            raise InputError(f"{path}: {table} has more than {_MAX_ROWS} lines")
        rows.append(Fields.parse(line, f"{path}: {table} line {number}"))
    return rows


def _embeddings(rows: list[Fields]) -> Embeddings:
    found: Embeddings = {}
    for row in rows:
        try:
            blob = base64.b64decode(row.text("embedding"), validate=True)
            embedding = np.frombuffer(blob, "<f2")
        except ValueError as error:
            raise row.wrong("embedding", "half-precision numbers in base64") from error
        length = float(np.linalg.norm(embedding.astype(np.float32)))
        if not abs(length - 1) <= _LENGTH_TOLERANCE:  # also catches what is no number
            raise row.wrong("embedding", "a vector of length 1")
        found.setdefault(row.text("exemplar_id"), {})[row.digest("encoder_id")] = embedding
    return found


def _log_row(row: Fields) -> dict[str, Any]:
    return {
        "seq": row.number("seq"),
        "action": printable(row.text("action")),
        "individual_id": row.optional_text("individual_id"),
        "who": printable(row.text("who")),
        "logged_at": row.moment("logged_at"),
    }


def digest_of(path: Path) -> str:
    """The file's own sha256, for the log."""
    with path.open("rb") as file:
        hasher = hashlib.sha256()
        while block := file.read(1 << 20):
            hasher.update(block)
        return hasher.hexdigest()
