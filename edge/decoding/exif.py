"""What a camera wrote into a picture: time, place, orientation, which camera (EXIF 2.32).

An own bounded parser: at most 64 KB, the first directory and the two it points to, a fixed
number of entries, and only the tags below. Nothing in those bytes can raise an exception or take
long; what is broken counts as not there. Dates in file names are never used.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta

_MAX_ENTRIES = 256
_MAX_TEXT = 128  # bytes
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_MODEL, _ORIENTATION, _DATE_TIME = 0x0110, 0x0112, 0x0132
_DATE_TIME_ORIGINAL, _SUBSEC_ORIGINAL, _OFFSET_ORIGINAL = 0x9003, 0x9291, 0x9011
_SUBSEC, _OFFSET, _SERIAL = 0x9290, 0x9010, 0xA431
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4
_TEXT, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5
_SIZES = {_TEXT: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8}
_MOMENT = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)", re.ASCII)
_UTC_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the camera says of a medium; None where it does not, or not sensibly."""

    captured_at: datetime | None = None  # by the camera's own clock, no time zone
    utc_offset_minutes: int | None = None  # of that clock, east positive
    latitude: float | None = None  # degrees, WGS84, north positive
    longitude: float | None = None  # degrees, east positive
    camera: str | None = None  # the body's serial number, else the model


@dataclass(frozen=True, kw_only=True)
class Exif:
    facts: Facts
    orientation: int  # 1 to 8; 1 where the picture says nothing sensible


NOTHING = Exif(facts=Facts(), orientation=1)

_Value = str | tuple[int, ...] | tuple[tuple[int, int], ...]
_Directory = dict[int, _Value]


def read_exif(block: bytes | None) -> Exif:
    """The facts in a TIFF block; `NOTHING` for None or what cannot be read."""
    if block is None or len(block) < 14:
        return NOTHING
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return NOTHING
    first = _directory(block, order, int(struct.unpack_from(order + "I", block, 4)[0]))
    details = _sub_directory(block, order, first, _EXIF_IFD)
    place = _sub_directory(block, order, first, _GPS_IFD)
    latitude = _degrees(place, _LATITUDE, _LATITUDE_REF, "NS", 90)
    longitude = _degrees(place, _LONGITUDE, _LONGITUDE_REF, "EW", 180)
    if latitude is None or longitude is None or (latitude, longitude) == (0.0, 0.0):
        latitude = longitude = None
    orientation = _number(first.get(_ORIENTATION))
    original = _moment(details.get(_DATE_TIME_ORIGINAL), details.get(_SUBSEC_ORIGINAL))
    captured_at = original or _moment(first.get(_DATE_TIME), details.get(_SUBSEC))
    offset = details.get(_OFFSET_ORIGINAL if original else _OFFSET)
    return Exif(
        facts=Facts(
            captured_at=captured_at,
            utc_offset_minutes=_offset(offset) if captured_at else None,
            latitude=latitude,
            longitude=longitude,
            camera=_text(details.get(_SERIAL)) or _text(first.get(_MODEL)),
        ),
        orientation=orientation if orientation is not None and 1 <= orientation <= 8 else 1,
    )


def parse_moment(text: str) -> datetime | None:
    """'2021:04:11 20:43:09' as a time; None for anything else and for years of nonsense."""
    found = _MOMENT.fullmatch(text.strip("\0 "))
    if found is None:
        return None
    try:
        moment = datetime(*(int(part) for part in found.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    return moment if 1900 <= moment.year < 9999 else None  # an event gap must fit behind it


def _directory(block: bytes, order: str, start: int) -> _Directory:
    if start < 8 or start + 2 > len(block):
        return {}
    (count,) = struct.unpack_from(order + "H", block, start)
    entries: _Directory = {}
    for number in range(min(count, _MAX_ENTRIES)):
        position = start + 2 + 12 * number
        if position + 12 > len(block):
            break
        tag, kind, length = struct.unpack_from(order + "HHI", block, position)
        value = _value(block, order, kind, length, position + 8)
        if value is not None and tag not in entries:
            entries[tag] = value
    return entries


def _sub_directory(block: bytes, order: str, parent: _Directory, tag: int) -> _Directory:
    start = _number(parent.get(tag))
    return {} if start is None else _directory(block, order, start)


def _value(block: bytes, order: str, kind: int, length: int, position: int) -> _Value | None:
    size = _SIZES.get(kind, 0) * length
    if size == 0 or length > _MAX_TEXT:
        return None
    if size > 4:
        (position,) = struct.unpack_from(order + "I", block, position)
    if position + size > len(block):
        return None
    if kind == _TEXT:
        raw = block[position : position + length].split(b"\0", 1)[0]
        return raw.decode("utf-8", errors="replace")
    if kind == _RATIONAL:
        numbers = struct.unpack_from(f"{order}{2 * length}I", block, position)
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return struct.unpack_from(f"{order}{length}{'H' if kind == _SHORT else 'I'}", block, position)


def _number(value: _Value | None) -> int | None:
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], int):
        return value[0]
    return None


def _text(value: _Value | None) -> str | None:
    if not isinstance(value, str):
        return None
    printable = "".join(sign for sign in value if sign.isprintable()).strip()
    return printable or None


def _moment(value: _Value | None, fraction: _Value | None) -> datetime | None:
    moment = parse_moment(value) if isinstance(value, str) else None
    if moment is None or not isinstance(fraction, str):
        return moment
    digits = fraction.strip()
    if not (digits.isascii() and digits.isdigit()):
        return moment
    return moment + timedelta(microseconds=int(digits[:6].ljust(6, "0")))


def _offset(value: _Value | None) -> int | None:
    found = _UTC_OFFSET.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    if int(found[3]) >= 60 or minutes > 14 * 60:
        return None
    return minutes if found[1] == "+" else -minutes


def _degrees(place: _Directory, tag: int, side_tag: int, sides: str, limit: int) -> float | None:
    value, side = place.get(tag), place.get(side_tag)
    if not isinstance(value, tuple) or len(value) != 3 or side not in tuple(sides):
        return None
    degrees = 0.0
    for part, unit in zip(value, (1, 60, 3600), strict=True):
        if not isinstance(part, tuple) or part[1] == 0:
            return None
        degrees += part[0] / part[1] / unit
    if not math.isfinite(degrees) or degrees > limit:
        return None
    return degrees if side == sides[0] else -degrees
