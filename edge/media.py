"""One picture file: its bytes, its pixels, the time its camera wrote into it.

A name is never handed to OpenCV (it crashes on names that are not UTF-8 and expands patterns);
bytes are read here and typed by content. Does not cover clips.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from edge.errors import MediaError
from edge.preprocess import Image

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 100_000_000

_EXIF_IFD = 0x8769
_DATE_TIME, _DATE_TIME_ORIGINAL, _SUBSEC_ORIGINAL = 0x0132, 0x9003, 0x9291
# What Pillow raises on damaged headers and EXIF blocks; found by mutating real files.
_PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    struct.error,
    OverflowError,
    ZeroDivisionError,
    PillowImage.DecompressionBombError,
)


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
    if not data:
        raise MediaError("empty", "zero bytes")
    try:
        with PillowImage.open(io.BytesIO(data), formats=("JPEG", "PNG")) as header:
            width, height = header.size
            captured_at = _captured_at(header)
    except PillowImage.DecompressionBombError as error:
        raise MediaError("too-large", str(error)) from error
    except _PILLOW_ERRORS as error:
        raise MediaError("type", "not a JPEG or PNG picture") from error
    if width * height > MAX_PIXELS:
        raise MediaError("too-large", f"{width} x {height} pixels")
    return Frame(image_HWC=_decode_pixels(data), captured_at=captured_at)


def _decode_pixels(data: bytes) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise MediaError("undecodable", str(error.err)) from error
    if image is None:
        ends_well = data.startswith(b"\x89PNG") or b"\xff\xd9" in data[-64:]
        if ends_well:
            raise MediaError("undecodable", "the decoder gives no pixels")
        raise MediaError("truncated", "the end of the picture is missing")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _captured_at(header: PillowImage.Image) -> datetime | None:
    """EXIF DateTimeOriginal with its fraction of a second, else DateTime; None if neither."""
    try:
        exif = header.getexif()
        details = exif.get_ifd(_EXIF_IFD)
    except _PILLOW_ERRORS:
        return None  # a damaged EXIF block: the picture counts, its time is unknown
    text = details.get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME)
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.strptime(text.strip("\x00 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    if not 1900 <= moment.year < 9999:  # nonsense, and no event gap can be added to it
        return None
    fraction = str(details.get(_SUBSEC_ORIGINAL, "")).strip("\x00 ")
    if fraction.isdigit():
        return moment.replace(microsecond=int(float("0." + fraction) * 1_000_000))
    return moment
