"""One picture file: its bytes, its pixels, the time its camera wrote into it.

A name is never handed to OpenCV (it crashes on names that are not UTF-8 and expands patterns);
bytes are read here, typed by content, and their header checked before a decoder sees them.
Does not cover clips, nor the guard that a device puts around decoding (`edge.decoding.guard`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from edge.decoding.exif import read_exif
from edge.decoding.header import Header, read_header
from edge.errors import MediaError
from edge.preprocess import Image

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
MAX_BYTES = 64 * 1024 * 1024

_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}  # these alone are bits; those for colour have that of BGR set
# How to bring a stored picture upright, by its EXIF orientation: turned, then mirrored.
_TURNS = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}  # quarter turns against the clock
_MIRRORED = frozenset({2, 4, 5, 7})


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A decoded picture, upright (its EXIF orientation applied once)."""

    image_HWC: Image
    captured_at: datetime | None  # the camera's own clock, no time zone


def is_picture_name(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def read_bytes(path: Path) -> bytes:
    """The whole file; raises MediaError when it is too large or cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MediaError("unreadable", error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise MediaError("too-large", f"more than {MAX_BYTES // 2**20} MB")
    return data


def decode(data: bytes) -> Frame:
    """The pixels and capture time of a JPEG or PNG; raises MediaError with the reason.

    The header is read and its size checked before any pixel is decoded.
    """
    header = read_header(data)
    if header.kind == "jpeg" and header.end is None:
        raise MediaError("truncated", "the end of the picture is missing")
    exif = read_exif(header.exif)
    image_HWC = decode_stored(data, header, scale=1)
    return Frame(image_HWC=upright(image_HWC, exif.orientation), captured_at=exif.facts.captured_at)


def decode_stored(data: bytes, header: Header, scale: int) -> Image:
    """The pixels as stored, RGB, at 1, 1/2, 1/4 or 1/8 of their size; only a JPEG is reduced.

    Raises MediaError where the decoder gives none.
    """
    reduced = _REDUCED[scale if header.kind == "jpeg" else 1]
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | reduced
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is not None:
            return np.asarray(image, dtype=np.uint8)
    except cv2.error as error:
        short = error.code == cv2.Error.StsNoMem
        raise MediaError("memory" if short else "undecodable", str(error.err)) from error
    if header.end is None:
        raise MediaError("truncated", "the end of the picture is missing")
    raise MediaError("undecodable", "the decoder gives no pixels")


def upright(image_HWC: Image, orientation: int) -> Image:
    """The picture as the photographer held the camera (EXIF 2.32, tag 0x0112)."""
    turned = np.rot90(image_HWC, _TURNS.get(orientation, 0))
    if orientation in _MIRRORED:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
