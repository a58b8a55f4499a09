"""Whether a file of a picture or clip is there to its end, seen from its structure alone.

Reads the head and the tail, seldom more. A file of a type that is not known here counts as
complete: the decoder refuses it by its content. Does not find damage between head and tail.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from edge.errors import MediaReason

ReadAt = Callable[[int, int], bytes]  # offset, number of bytes -> the bytes, fewer at the end
Missing = tuple[MediaReason, str]

_TAIL_BYTES = 64 * 1024
_PIECE_BYTES = 1024 * 1024
_MAX_PARTS = 100_000  # chunks or boxes walked through; a file with more is left to the decoder
_HEAD_BYTES = 16
_END_OF_IMAGE = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
_EBML_START = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_FIRST_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"))
_STARTS = (b"\xff\xd8\xff", _PNG_START, _EBML_START)


def find_missing(read_at: ReadAt, num_bytes: int) -> Missing | None:
    """Why the file is not complete, as reason and detail; None where it is or nobody can tell."""
    if num_bytes == 0:
        return "empty", "zero bytes"
    head = read_at(0, _HEAD_BYTES)
    detail = _missing_by_type(read_at, num_bytes, head)
    return None if detail is None else ("truncated", detail)


def _missing_by_type(read_at: ReadAt, num_bytes: int, head: bytes) -> str | None:
    if not any(head):
        return "it begins with nothing but zeros"
    if _may_become_known(head):
        return "only its first bytes are there"
    if head.startswith(b"\xff\xd8\xff"):
        return _missing_of_jpeg(read_at, num_bytes)
    if head.startswith(_PNG_START):
        return _missing_of_png(read_at, num_bytes)
    if head[4:8] in _FIRST_BOXES:
        return _missing_of_mp4(read_at, num_bytes)
    if head.startswith(b"RIFF"):
        return _missing_of_riff(read_at, num_bytes)
    if head.startswith(_EBML_START):
        return _missing_of_matroska(read_at, num_bytes)
    return None


def _may_become_known(head: bytes) -> bool:
    """So short that the type cannot be told, but so far like one that is known."""
    if any(len(head) < len(start) and start.startswith(head) for start in _STARTS):
        return True
    return len(head) < 12 and (head[:4] == b"RIFF"[: len(head)] or head[:2] == b"\x00\x00")


def _missing_of_jpeg(read_at: ReadAt, num_bytes: int) -> str | None:
    """The end marker must come after the start of the pixels: a thumbnail has one of its own.

    Within the pixels' data no such two bytes occur (ITU-T T.81, B.1.1.5), so one that is there
    ends the picture, whatever a camera appended.
    """
    start = _start_of_pixels(read_at, num_bytes)
    if start is None:
        return "it ends within its header"
    tail_at = max(start, num_bytes - _TAIL_BYTES)
    if _END_OF_IMAGE in read_at(tail_at, num_bytes - tail_at):
        return None
    offset = start
    while offset < tail_at:
        if _END_OF_IMAGE in read_at(offset, _PIECE_BYTES + 1):  # one byte into the next piece
            return None
        offset += _PIECE_BYTES
    return "the end of the picture is missing"


def _start_of_pixels(read_at: ReadAt, num_bytes: int) -> int | None:
    """The offset behind the first scan's header; None where the file ends before."""
    offset = 2
    for _ in range(_MAX_PARTS):
        marker = read_at(offset, 4)
        if len(marker) < 4:
            return None
        if marker[0] != 0xFF or marker[1] == 0xFF:  # not a marker, or filling before one
            offset += 1
            continue
        if marker[1] in (0x00, 0x01) or 0xD0 <= marker[1] <= 0xD8:  # without a length
            offset += 2
            continue
        offset += 2 + int.from_bytes(marker[2:], "big")
        if marker[1] == 0xDA:
            return offset if offset <= num_bytes else None
    return min(offset, num_bytes)


def _missing_of_png(read_at: ReadAt, num_bytes: int) -> str | None:
    tail_at = max(0, num_bytes - _TAIL_BYTES)
    if _PNG_END in read_at(tail_at, num_bytes - tail_at):
        return None
    offset = len(_PNG_START)
    for _ in range(_MAX_PARTS):
        header = read_at(offset, 8)
        if len(header) < 8:
            return "the end of the picture is missing"
        offset += 12 + int.from_bytes(header[:4], "big")
        if header[4:] == b"IEND":
            return None if offset <= num_bytes else "the end of the picture is missing"
    return None


def _missing_of_mp4(read_at: ReadAt, num_bytes: int) -> str | None:
    """Every box must lie in the file, and the one that lists the frames (moov) must be there."""
    offset, has_index = 0, False
    for _ in range(_MAX_PARTS):
        header = read_at(offset, 16)
        size, kind = _box(header, num_bytes - offset)
        is_box = len(header) >= 8 and size >= 8 and kind.isascii() and any(kind)
        if not is_box:  # the end, or what a camera appended
            return None if has_index else "the index of its frames (moov) is missing"
        if offset + size > num_bytes:
            return f"its {kind.decode('ascii', 'replace')!r} part goes beyond the end"
        has_index = has_index or kind == b"moov"
        offset += size
    return None


def _box(header: bytes, num_left: int) -> tuple[int, bytes]:
    """Size and kind (ISO/IEC 14496-12, 4.2): 1 announces 64 bits, 0 the rest of the file."""
    size, kind = int.from_bytes(header[:4], "big"), header[4:8]
    if size == 1:
        return int.from_bytes(header[8:16], "big"), kind
    return (num_left if size == 0 and any(kind) else size), kind


def _missing_of_riff(read_at: ReadAt, num_bytes: int) -> str | None:
    """An AVI above 1 GB is several RIFF parts; a size of 0 is one that was never closed."""
    offset = 0
    for _ in range(_MAX_PARTS):
        header = read_at(offset, 8)
        if not header.startswith(b"RIFF") or len(header) < 8:
            return None if offset else "only its first bytes are there"
        (size,) = struct.unpack("<I", header[4:])
        if size == 0:
            return "its length was never written"
        if offset + 8 + size > num_bytes:
            return "the end of the clip is missing"
        offset += 8 + size + size % 2
    return None


def _missing_of_matroska(read_at: ReadAt, num_bytes: int) -> str | None:
    """A recorder that cannot go back leaves the size unknown (RFC 8794, 6.2): then any is right."""
    size, length = _ebml_size(read_at(4, 8))
    if size is None:
        return None
    offset = 4 + length + size
    header = read_at(offset, 12)
    if len(header) < 5:
        return "only its header is there"
    if not header.startswith(_SEGMENT):
        return None
    size, length = _ebml_size(header[4:])
    if size is not None and offset + 4 + length + size > num_bytes:
        return "the end of the clip is missing"
    return None


def _ebml_size(field: bytes) -> tuple[int | None, int]:
    """Value and length in bytes of a variable-length size; None: unknown, or not a size."""
    if not field or field[0] == 0:
        return None, 1
    length = 9 - field[0].bit_length()
    value = int.from_bytes(field[:length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), length
