"""What the camera wrote is read where it makes sense, and nothing it wrote can do harm."""

from __future__ import annotations

import random
import struct
from datetime import datetime

import pytest

from edge.decoding.exif import NOTHING, Facts, read_exif

from ..media_files import ratios, short, text, tiff

WHEN = datetime(2021, 4, 11, 20, 43, 9)
GPS = [
    text(1, "S"), ratios(2, (33, 1), (30, 1), (0, 1)),
    text(3, "E"), ratios(4, (18, 1), (0, 1), (36, 1)),
]  # fmt: skip
FULL = tiff(
    [text(0x010F, "RECONYX"), text(0x0110, "HC550"), short(0x0112, 6),
     text(0x0132, "2022:01:01 00:00:00")],
    [text(0x9003, "2021:04:11 20:43:09"), text(0x9291, "25"), text(0x9011, "+05:30"),
     text(0xA431, "H500-1234")],
    GPS,
)  # fmt: skip


def _taken(value: str, **details: str) -> bytes:
    tags = {"fraction": 0x9291, "offset": 0x9011}
    return tiff([], [text(0x9003, value), *(text(tags[k], v) for k, v in details.items())])


def test_all_that_is_known_is_told() -> None:
    exif = read_exif(FULL)
    assert exif.orientation == 6
    assert exif.facts == Facts(
        captured_at=WHEN.replace(microsecond=250_000),
        utc_offset_minutes=330,
        latitude=-33.5,
        longitude=18.01,
        camera="H500-1234",
    )


def test_big_endian_is_read_too() -> None:
    row = struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0)
    assert read_exif(b"MM\0*\0\0\0\x08\0\x01" + row + bytes(4)).orientation == 8


def test_the_model_stands_in_for_a_serial_and_the_file_date_for_the_original() -> None:
    facts = read_exif(tiff([text(0x0110, " E8   "), text(0x0132, "2021:04:11 20:43:09")])).facts
    assert (facts.camera, facts.captured_at) == ("E8", WHEN)


@pytest.mark.parametrize("value", [0, 9, 999])
def test_a_senseless_orientation_is_upright(value: int) -> None:
    assert read_exif(tiff([short(0x0112, value)])).orientation == 1


@pytest.mark.parametrize(
    "value",
    ["0000:00:00 00:00:00", "    :  :     :  :  ", "9999:12:31 23:59:59", "1899:12:31 23:59:59",
     "2021:02:30 10:00:00", "2021:04:11 25:00:00", "2021-04-11", "", "\u0662021:04:11 20:43:09"],
)  # fmt: skip
def test_a_senseless_time_is_none(value: str) -> None:
    assert read_exif(_taken(value)).facts.captured_at is None


@pytest.mark.parametrize(
    ("offset", "minutes"),
    [("+00:00", 0), ("-09:30", -570), ("+14:00", 840), ("+25:00", None), ("+01:75", None),
     ("   :  ", None), ("Z", None)],
)  # fmt: skip
def test_an_offset_is_told_where_it_makes_sense(offset: str, minutes: int | None) -> None:
    facts = read_exif(_taken("2021:04:11 20:43:09", offset=offset)).facts
    assert facts.utc_offset_minutes == minutes
    assert facts.captured_at == WHEN


@pytest.mark.parametrize(
    "place",
    [
        [text(1, "N"), ratios(2, (1, 0), (0, 1), (0, 1)), *GPS[2:]],
        [text(1, "N"), ratios(2, (91, 1), (0, 1), (0, 1)), *GPS[2:]],
        [text(1, "N"), ratios(2, (0, 1), (0, 1), (0, 1)),
         text(3, "E"), ratios(4, (0, 1), (0, 1), (0, 1))],
        [text(1, "Q"), *GPS[1:]],
        [text(1, "N"), ratios(2, (4, 1)), *GPS[2:]],
        GPS[:2],
    ],
    ids=["divided_by_zero", "beyond_pole", "null_island", "no_such_side", "one_number", "half"],
)  # fmt: skip
def test_a_senseless_place_is_none(place: list[tuple[int, int, bytes]]) -> None:
    facts = read_exif(tiff([], [text(0x9003, "2021:04:11 20:43:09")], place)).facts
    assert (facts.latitude, facts.longitude, facts.captured_at) == (None, None, WHEN)


@pytest.mark.parametrize(
    "block",
    [
        b"", b"II*\0", b"XX*\0" + bytes(20),
        b"II*\0\xff\xff\xff\xff" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(20),
        # A directory that points to itself as its EXIF directory.
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + bytes(4),
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0110, 2, 0xFFFFFFFF, 8) + bytes(4),
    ],
    ids=["none", "short", "no_tiff", "far", "many", "loop", "long_text"],
)  # fmt: skip
def test_a_broken_block_says_nothing(block: bytes) -> None:
    assert read_exif(block) == NOTHING


def test_five_thousand_mutants_raise_nothing() -> None:
    rng = random.Random(7)
    for _ in range(5000):
        block = bytearray(FULL)
        for _ in range(rng.randint(1, 8)):
            block[rng.randrange(len(block))] = rng.choice((0, 1, 8, 0x7F, 0x80, 0xFF))
        read_exif(bytes(block[: rng.randint(0, len(block))] if rng.random() < 0.2 else block))
