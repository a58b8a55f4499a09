"""Pictures and clips with one defect each, made byte by byte."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from edge.decoding.decoder import Wanted
from edge.detect import WHOLE_FRAME_ANIMAL
from edge.preprocess import InputSpec

SPEC = InputSpec(height=64, width=64, resize="squash", pad_value=0)
WANTED = Wanted(spec=SPEC, objects=(WHOLE_FRAME_ANIMAL,), look_side=None)


def scene(width: int, height: int, seed: int = 1) -> NDArray[np.uint8]:
    """Soft blobs of colour with some grain, as little regular as a meadow."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 32, 2), max(width // 32, 2), 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def jpeg(image: NDArray[np.uint8], exif: bytes | None = None, **options: object) -> bytes:
    """`exif` is a TIFF block."""
    buffer = io.BytesIO()
    block = {} if exif is None else {"exif": b"Exif\0\0" + exif}
    PillowImage.fromarray(image).save(
        buffer,
        format="JPEG",
        quality=87,
        **block,
        **options,  # type: ignore[arg-type]
    )
    return buffer.getvalue()


def png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame header."""
    at = next(data.find(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def with_scans(data: bytes, number: int) -> bytes:
    """The JPEG with its last scan repeated."""
    at = data.rfind(b"\xff\xda")
    return data[:-2] + data[at:-2] * number + b"\xff\xd9"


def clip(frames: Sequence[NDArray[np.uint8]], suffix: str = ".avi", rate: float = 10.0) -> bytes:
    """An AVI of JPEGs or an MP4 of MPEG-4."""
    height, width = frames[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*("MJPG" if suffix == ".avi" else "mp4v"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        writer = cv2.VideoWriter(str(path), code, rate, (width, height))
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
        writer.release()
        return path.read_bytes()


# --- EXIF, as a TIFF block written by hand

_Entry = tuple[int, int, bytes]  # tag, type, value


def text(tag: int, value: str) -> _Entry:
    return tag, 2, value.encode() + b"\0"


def short(tag: int, value: int) -> _Entry:
    return tag, 3, struct.pack("<H", value)


def ratios(tag: int, *values: tuple[int, int]) -> _Entry:
    return tag, 5, b"".join(struct.pack("<II", *one) for one in values)


def tiff(
    first: Sequence[_Entry], details: Sequence[_Entry] = (), place: Sequence[_Entry] = ()
) -> bytes:
    """A little-endian TIFF block of the first, the EXIF and the GPS directory."""
    block = bytearray(b"II*\0\0\0\0\0")
    entries = list(first)
    for tag, inner in ((0x8769, details), (0x8825, place)):
        if inner:
            entries.append((tag, 4, struct.pack("<I", _append(block, inner))))
    block[4:8] = struct.pack("<I", _append(block, entries))
    return bytes(block)


def _append(block: bytearray, entries: Sequence[_Entry]) -> int:
    """Writes a directory behind its long values; returns where it begins."""
    sizes = {2: 1, 3: 2, 4: 4, 5: 8}
    rows = b""
    for tag, kind, value in entries:
        field = value.ljust(4, b"\0")
        if len(value) > 4:
            field = struct.pack("<I", len(block))
            block += value
        rows += struct.pack("<HHI", tag, kind, len(value) // sizes[kind]) + field
    start = len(block)
    block += struct.pack("<H", len(entries)) + rows + bytes(4)
    return start
