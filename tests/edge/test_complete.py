"""Whole files and files that were cut, by their structure."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.intake.complete import find_missing

from .conftest import draw, hollow_png


def is_complete(data: bytes) -> bool:
    return find_missing(lambda offset, length: data[offset : offset + length], len(data)) is None


def _jpeg(thumbnail: bytes = b"") -> bytes:
    data = cv2.imencode(".jpg", draw("A", side=96))[1].tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    return data[:2] + segment + data[2:]


def _box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def _clip(path: Path, fourcc: str) -> bytes:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 5, (64, 64))
    for shot in range(10):
        writer.write(draw("A", shot=shot))
    writer.release()
    return path.read_bytes()


PNG = cv2.imencode(".png", draw("A"))[1].tobytes()
FTYP, MOOV = _box(b"ftyp", b"isom" + bytes(4)), _box(b"moov", bytes(50))
MDAT = _box(b"mdat", bytes(range(256)))
RIFF = b"RIFF" + struct.pack("<I", 104) + b"AVI " + bytes(100)
EBML = b"\x1a\x45\xdf\xa3\x84" + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        _jpeg(),
        _jpeg(thumbnail=_jpeg()),
        _jpeg() + bytes(3000),  # padding
        _jpeg() + b"SAMSUNG" * 20000,  # a trailer longer than the tail that is read first
        PNG,
        PNG + b"more" * 30000,
        hollow_png(9, 9),
        FTYP + MOOV + MDAT,
        FTYP + MDAT + MOOV,
        MDAT + MOOV,
        FTYP + MOOV + _box(b"mdat", bytes(99), size=0),  # to the end of the file
        FTYP + MOOV + struct.pack(">I4sQ", 1, b"mdat", 26) + bytes(10),
        FTYP + MDAT + MOOV + bytes(500),
        RIFF,
        RIFF + RIFF + b"idle",
        EBML + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + bytes(40),  # of unknown length
        EBML + b"\x18\x53\x80\x67\x88" + bytes(8),
        b"GIF89a" + bytes(20),  # not ours to judge
        b"no picture",
    ],
)
def test_a_whole_file_is_complete(data):
    assert is_complete(data)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"\xff\xd8", b"\x89PNG\r\n", b"RIFF", b"RIFF\x10\x00", bytes(4000),
        _jpeg()[:-2],
        _jpeg()[:-20] + bytes(20),  # the tail was never written
        _jpeg(thumbnail=_jpeg())[: len(_jpeg()) + 6],  # ends with the end mark of its thumbnail
        PNG[:-4],
        FTYP, FTYP + MDAT, FTYP + MOOV[:-1], FTYP + MDAT[:-1], FTYP + MOOV + MDAT[:-1],
        FTYP + MDAT + MOOV[:20],
        RIFF[:-1], RIFF + RIFF[:-1], b"RIFF" + bytes(4) + b"AVI " + bytes(50),
        EBML, EBML + b"\x18\x53\x80\x67\x88" + bytes(7),
    ],
)  # fmt: skip
def test_a_cut_file_is_not(data):
    assert not is_complete(data)


def test_a_jpeg_cut_anywhere_is_not_complete():
    rng = random.Random(1)
    whole = _jpeg(thumbnail=_jpeg())
    cuts = [rng.randrange(len(whole)) for _ in range(300)]
    assert [cut for cut in cuts if is_complete(whole[:cut])] == []


@pytest.mark.parametrize(("name", "fourcc"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_a_clip_cut_anywhere_is_not_complete(tmp_path, name, fourcc):
    whole = _clip(tmp_path / name, fourcc)
    assert is_complete(whole)
    cuts = np.linspace(0, len(whole) - 1, 60).astype(int)
    assert [cut for cut in cuts if is_complete(whole[:cut])] == []


def test_only_head_and_tail_of_a_large_picture_are_read():
    whole = _jpeg()
    data = whole[:-2] + bytes(range(1, 200)) * 50_000 + whole[-2:]
    num_read = 0

    def read_at(offset: int, length: int) -> bytes:
        nonlocal num_read
        num_read += length
        return data[offset : offset + length]

    assert find_missing(read_at, len(data)) is None
    assert num_read < 70_000 < len(data)


@pytest.mark.data
def test_real_files_of_cameras_are_complete_and_their_halves_are_not(shared):
    kinds = {".jpg", ".mp4", ".avi"}
    paths = (shared / "camera-trap").rglob("*")
    files = {one.name: one.read_bytes() for one in paths if one.suffix.lower() in kinds}
    assert len(files) >= 25
    cut = [name for name, data in files.items() if not is_complete(data)]
    assert cut == ["african_elephants_truncated_file.jpg"]
    assert [name for name, data in files.items() if is_complete(data[: len(data) // 2])] == []
