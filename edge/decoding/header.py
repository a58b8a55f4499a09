"""What a picture's bytes say of themselves, read before any decoder sees them.

The structure of a JPEG (ITU-T T.81, annex B) or PNG is walked from marker to marker within fixed
bounds: kind by content, size, number of scans, whether its end is there, where its EXIF lies.
Does not cover clips (container.py) nor the pixels (`edge.media`, decoder.py).
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.decoding.limits import MAX_PIXELS, MAX_SIDE
from edge.errors import MediaError

_MAX_SCANS = 200
_MAX_SCANNED_PIXELS = 20 * MAX_PIXELS  # a progressive picture costs its size once per scan
_MAX_SEGMENTS = 4_000
_MAX_EXIF_BYTES = 65_536
_BLOCK = 1 << 18  # bytes looked at together: they stay in a core's cache

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_FRAMES = {0xC0: False, 0xC1: False, 0xC2: True}  # baseline, extended, progressive (Huffman)
_OTHER_FRAMES = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_HARMLESS = frozenset({0xC4, *range(0xDB, 0xE0), *range(0xE0, 0xF0), 0xFE})
# In entropy-coded data FF is followed by 00, by a restart marker, or by a marker that ends it.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known of a picture that may be given to a decoder."""

    kind: Literal["jpeg", "png"]
    width: int  # as stored, before the EXIF orientation
    height: int
    exif: bytes | None  # the TIFF block, at most 64 KB
    end: int | None  # where the picture's data ends; None: its end is missing
    progressive: bool
    mcu_height: int  # of a JPEG: rows of pixels coded together, 8 to 32; 0 for PNG
    flaw: str | None  # what is broken in the structure, though a decoder may cope


def is_picture(data: bytes) -> bool:
    return data.startswith((b"\xff\xd8\xff", _PNG))


def read_header(data: bytes) -> Header:
    """The header of a JPEG or PNG; raises MediaError for what no decoder should be given."""
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    if data.startswith(_PNG):
        return _read_png(data)
    refuse_empty(data)
    raise MediaError("type", "not a JPEG or PNG picture")


def refuse_empty(data: bytes) -> None:
    """Raises MediaError for no bytes, or nothing but zeros (as after a power cut in a camera)."""
    if not data:
        raise MediaError("empty", "zero bytes")
    if data[0] == 0 and data.count(0) == len(data):
        raise MediaError("empty", "nothing but zero bytes")


def check_size(width: int, height: int) -> None:
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaError("too-large", f"{width} x {height} pixels")


@dataclass(kw_only=True)
class _Jpeg:
    """What the walk has seen so far."""

    width: int = 0
    height: int = 0
    progressive: bool = False
    mcu_height: int = 0
    exif: bytes | None = None
    num_scans: int = 0
    end: int | None = None
    flaw: str | None = None


def _read_jpeg(data: bytes) -> Header:
    seen = _Jpeg()
    position = 2
    for _ in range(_MAX_SEGMENTS):
        found = _next_marker(data, position, in_scan=seen.num_scans > 0)
        if found is None:
            break
        marker, position = data[found + 1], found + 2
        if marker == _EOI:
            seen.end = position
            break
        length = int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : position + length]
        if length < 2 or len(body) < length - 2:
            seen.flaw = "marker" if seen.num_scans else None
            break
        _take_segment(seen, marker, body)
        if seen.flaw:
            break
        position += length
    return _jpeg_header(data, seen)


def _next_marker(data: bytes, position: int, in_scan: bool) -> int | None:
    """Where the next marker begins; between segments nothing else may lie than fill bytes."""
    if in_scan:
        found = _MARKER.search(data, _stuffing_skipped(data, position))
        return found.start() if found else None
    while data[position : position + 2] == b"\xff\xff":
        position += 1
    if position + 2 > len(data) or data[position] != 0xFF:
        return None
    return position


def _stuffing_skipped(data: bytes, position: int) -> int:
    """Where FF is first followed by anything but 00, or the end: three times as fast as a regular
    expression, which stops at each of the 10,000 stuffed bytes of a megabyte."""
    bytes_N = np.frombuffer(data, np.uint8)
    while position < len(data) - 1:
        block_B = bytes_N[position : position + _BLOCK + 1]
        is_marker_B = block_B[:-1] == 0xFF
        is_marker_B &= block_B[1:] != 0
        first = int(is_marker_B.argmax())
        if is_marker_B[first]:
            return position + first
        position += len(is_marker_B)
    return position


def _take_segment(seen: _Jpeg, marker: int, body: bytes) -> None:
    if marker in _OTHER_FRAMES:
        if seen.num_scans == 0:
            raise MediaError("type", f"a JPEG of a rare kind (SOF{marker - 0xC0})")
        seen.flaw = "marker"
    elif marker in _FRAMES:
        _take_frame(seen, marker, body)
    elif marker == _SOS:
        seen.num_scans += 1
        if seen.num_scans > _MAX_SCANS or (
            seen.num_scans * seen.width * seen.height > _MAX_SCANNED_PIXELS
        ):
            raise MediaError("too-large", f"{seen.num_scans} or more scans")
    elif marker == _APP1 and seen.exif is None and body.startswith(b"Exif\0\0"):
        seen.exif = body[6 : 6 + _MAX_EXIF_BYTES]
    elif marker not in _HARMLESS:
        seen.flaw = "marker"


def _take_frame(seen: _Jpeg, marker: int, body: bytes) -> None:
    if seen.width:
        raise MediaError("undecodable", "two frame headers in one JPEG")
    if len(body) < 6:
        raise MediaError("undecodable", "a broken frame header")
    precision, height, width, components = struct.unpack_from(">BHHB", body)
    factors = [body[7 + 3 * one] for one in range(components) if 7 + 3 * one < len(body)]
    if width == 0 or height == 0 or components not in (1, 3, 4) or len(factors) < components:
        raise MediaError("undecodable", "a broken frame header")
    if precision != 8:
        raise MediaError("type", f"a JPEG of {precision} bits")
    check_size(width, height)
    if not all(1 <= factor >> 4 <= 4 and 1 <= factor & 15 <= 4 for factor in factors):
        raise MediaError("undecodable", "a broken frame header")
    seen.width, seen.height, seen.progressive = width, height, _FRAMES[marker]
    # A single component is never interleaved: its blocks are coded one by one.
    seen.mcu_height = 8 * max(factor & 15 for factor in factors) if components > 1 else 8


def _jpeg_header(data: bytes, seen: _Jpeg) -> Header:
    if seen.num_scans == 0 or seen.width == 0:
        if b"\xff\xd9" in data[-64:]:
            raise MediaError("undecodable", "its header is broken")
        raise MediaError("truncated", "it ends within its header")
    end = seen.end
    if end is None:  # a broken marker may hide the end from the walk
        last = data.rfind(b"\xff\xd9", max(len(data) - 4096, 0))
        end = last + 2 if last >= 0 and seen.flaw else None
    return Header(
        kind="jpeg",
        width=seen.width,
        height=seen.height,
        exif=seen.exif,
        end=end,
        progressive=seen.progressive,
        mcu_height=seen.mcu_height,
        flaw=seen.flaw,
    )


def _read_png(data: bytes) -> Header:
    if data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\r" or len(data) < 33:
        raise MediaError("truncated" if len(data) < 33 else "undecodable", "a broken PNG header")
    width, height, depth, colour, packing, filtering, interlace = struct.unpack_from(
        ">IIBBBBB", data, 16
    )
    check_size(width, height)
    if (
        width == 0
        or height == 0
        or depth not in _PNG_DEPTHS.get(colour, ())
        or (packing, filtering) != (0, 0)
        or interlace > 1
    ):
        raise MediaError("undecodable", "a broken PNG header")
    exif: bytes | None = None
    end: int | None = None
    flaw: str | None = None
    position = 8
    for _ in range(_MAX_SEGMENTS * 10):
        if position + 12 > len(data):
            break
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        after = position + 12 + length
        if after > len(data):
            break
        with memoryview(data) as view:
            checksum = zlib.crc32(view[position + 4 : after - 4])
        if checksum != int.from_bytes(data[after - 4 : after], "big"):
            flaw = flaw or "checksum"
        elif kind == b"acTL":
            raise MediaError("type", "an animated PNG")
        elif kind == b"eXIf":
            exif = data[position + 8 : after - 4][:_MAX_EXIF_BYTES]
        position = after
        if kind == b"IEND":
            end = position
            break
    return Header(
        kind="png",
        width=width,
        height=height,
        exif=exif,
        end=end,
        progressive=False,
        mcu_height=0,
        flaw=flaw,
    )
