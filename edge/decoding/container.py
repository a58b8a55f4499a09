"""What a clip's bytes say of themselves, read before any decoder sees them.

Kinds are told by content: MP4, MOV and 3GP (ISO 14496-12), AVI (RIFF), Matroska and WebM (EBML).
Play lists, which would make a decoder open other files, are none of them. A bounded walk finds
whether the end is there and when the clip was taken. Does not cover its frames (clips.py).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from edge.decoding.exif import parse_moment
from edge.decoding.limits import MAX_CLIP_BYTES
from edge.errors import MediaError

CLIP_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".wmv"}
)
_MAX_BOXES = 4_000
_ISO_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
_ISO_EPOCH = datetime(1904, 1, 1)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CTIME = re.compile(r"[A-Za-z]{3} ([A-Za-z]{3}) +(\d{1,2}) (\d\d:\d\d:\d\d) (\d{4})")
_NUMERIC = re.compile(r"(\d{4})[-:/](\d\d)[-:/](\d\d)[ T/]+(\d\d:\d\d(?::\d\d)?)")

Kind = Literal["iso", "avi", "matroska"]


@dataclass(frozen=True, kw_only=True)
class Container:
    kind: Kind
    # By the camera's clock as it is written. MP4 means UTC by its standard, yet many trail
    # cameras write their local time there, and nothing in the file tells which.
    captured_at: datetime | None
    cut_short: bool  # parts of it reach beyond its last byte


def kind_of(data: bytes) -> Kind | None:
    if data[4:8] in _ISO_FIRST:
        return "iso"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    return None


def read_container(data: bytes) -> Container:
    """What a clip's structure tells; raises MediaError where no frame can be found in it."""
    if len(data) > MAX_CLIP_BYTES:
        raise MediaError("too-large", f"more than {MAX_CLIP_BYTES // 2**20} MB")
    kind = kind_of(data)
    if kind == "iso":
        return _read_iso(data)
    if kind == "avi":
        return _read_avi(data)
    if kind == "matroska":
        return Container(kind="matroska", captured_at=None, cut_short=False)
    raise MediaError("type", "not an MP4, MOV, AVI, MKV or WebM clip")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A named stretch of bytes: an ISO box or a RIFF chunk, without its head."""

    name: bytes
    start: int
    end: int
    cut_short: bool


def _boxes(data: bytes, start: int, end: int) -> list[_Part]:
    found: list[_Part] = []
    while start + 8 <= end and len(found) < _MAX_BOXES:
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        elif size == 0:
            size = end - start
        if size < head:
            break
        stop = min(start + size, end)
        found.append(_Part(name=name, start=start + head, end=stop, cut_short=start + size > end))
        start += size
    return found


def _read_iso(data: bytes) -> Container:
    boxes = _boxes(data, 0, len(data))
    cut_short = any(box.cut_short for box in boxes)
    moov = next((box for box in boxes if box.name == b"moov"), None)
    if moov is None or moov.cut_short:
        reason: Literal["truncated", "undecodable"] = "truncated" if cut_short else "undecodable"
        raise MediaError(reason, "the clip's table of contents (moov) is missing")
    captured_at = None
    for box in _boxes(data, moov.start, moov.end):
        if box.name == b"mvhd":
            captured_at = _iso_moment(data[box.start : box.end])
    return Container(kind="iso", captured_at=captured_at, cut_short=cut_short)


def _iso_moment(mvhd: bytes) -> datetime | None:
    """Seconds since 1904; 0 means that the camera did not say."""
    wide = mvhd[:1] == b"\x01"
    if len(mvhd) < (12 if wide else 8):
        return None
    (seconds,) = struct.unpack_from(">Q" if wide else ">I", mvhd, 4)
    if seconds == 0 or seconds > 1 << 33:
        return None
    moment = _ISO_EPOCH + timedelta(seconds=seconds)
    return moment if moment.year >= 1970 else None  # a small number is no date but a fault


def _chunks(data: bytes, start: int, end: int) -> list[_Part]:
    found: list[_Part] = []
    while start + 8 <= end and len(found) < _MAX_BOXES:
        name, size = struct.unpack_from("<4sI", data, start)
        stop = start + 8 + size
        found.append(_Part(name=name, start=start + 8, end=min(stop, end), cut_short=stop > end))
        start = stop + size % 2
    return found


def _read_avi(data: bytes) -> Container:
    (claimed,) = struct.unpack_from("<I", data, 4)
    lists = {
        data[part.start : part.start + 4]: part
        for part in _chunks(data, 12, len(data))
        if part.name == b"LIST"
    }
    header = lists.get(b"hdrl")
    if header is None or header.cut_short:
        raise MediaError("truncated", "the clip ends within its header")
    parts = _chunks(data, header.start + 4, header.end) + _chunks(data, 12, len(data))
    info = lists.get(b"INFO")
    if info is not None:
        parts += _chunks(data, info.start + 4, info.end)
    moments = (
        _text_moment(data[part.start : min(part.end, part.start + 64)])
        for part in parts
        if part.name in (b"IDIT", b"ICRD")
    )
    movie = lists.get(b"movi")
    return Container(
        kind="avi",
        captured_at=next((moment for moment in moments if moment is not None), None),
        cut_short=claimed + 8 > len(data) or movie is None or movie.cut_short,
    )


def _text_moment(raw: bytes) -> datetime | None:
    """'Mon Apr 12 20:43:09 2021', '2021:04:12 20:43:09' or '2021/04/12/ 20:43' as a time."""
    text = raw.split(b"\0", 1)[0].decode("ascii", errors="replace").strip()
    if found := _CTIME.match(text):
        month = found[1].lower()
        if month not in _MONTHS:
            return None
        number = _MONTHS.index(month) + 1
        return parse_moment(f"{found[4]}:{number:02d}:{int(found[2]):02d} {found[3]}")
    if found := _NUMERIC.match(text):
        clock = found[4] if len(found[4]) == 8 else f"{found[4]}:00"
        return parse_moment(f"{found[1]}:{found[2]}:{found[3]} {clock}")
    return None
