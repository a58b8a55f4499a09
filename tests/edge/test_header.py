"""What no decoder may be given is refused by its header, in no time and memory."""

from __future__ import annotations

import resource
import time

import pytest

from edge.decoding import decoder
from edge.decoding.header import _BLOCK, read_header
from edge.decoding.limits import MAX_PIXELS
from edge.errors import MediaError

from ..media_files import WANTED, chunk, jpeg, png, scene, with_scans, with_size
from .conftest import hollow_png

GOOD = jpeg(scene(96, 64))
PROGRESSIVE = jpeg(scene(96, 64), progressive=True)
GOOD_PNG = png(scene(96, 64))
_FRAME = GOOD[GOOD.find(b"\xff\xc0") :][:19]
_PLAY_LIST = b"ffconcat version 1.0\nfile full.mp4\n"
_HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfull.mp4\n#EXT-X-ENDLIST\n"
_SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"

REFUSED = {
    "no_bytes": (b"", "empty"),
    "zeros_after_power_cut": (bytes(40_000), "empty"),
    "text": (b"hello", "type"),
    "html": (b"<html><img src=x>", "type"),
    "pdf": (b"%PDF-1.7\n", "type"),
    "program": (b"\x7fELF" + bytes(60), "type"),
    "gif": (b"GIF89a" + bytes(60), "type"),
    "tiff": (b"II*\0" + bytes(60), "type"),
    "bmp": (b"BM" + bytes(60), "type"),
    "webp": (b"RIFF\x40\0\0\0WEBPVP8 " + bytes(60), "type"),
    "wave": (b"RIFF\x40\0\0\0WAVEfmt " + bytes(60), "type"),
    "jpeg2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "type"),
    "openexr": (b"v/1\x01" + bytes(60), "type"),
    "zip": (b"PK\x03\x04" + bytes(60), "type"),
    "play_list_named_avi": (_PLAY_LIST, "type"),
    "hls_named_avi": (_HLS, "type"),
    "session_description": (_SDP, "type"),
    "arithmetic_coding": (GOOD.replace(b"\xff\xc0", b"\xff\xc9", 1), "type"),
    "lossless_jpeg": (GOOD.replace(b"\xff\xc0", b"\xff\xc3", 1), "type"),
    "twelve_bits": (GOOD.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "type"),
    "animated_png": (GOOD_PNG[:33] + chunk(b"acTL", bytes(8)) + GOOD_PNG[33:], "type"),
    "jpeg_bomb": (with_size(GOOD, 30_000, 30_000), "too-large"),
    "long_jpeg": (with_size(GOOD, 65_500, 8), "too-large"),
    "png_bomb": (hollow_png(20_000, 20_000), "too-large"),
    "thousand_scans": (with_scans(PROGRESSIVE, 1000), "too-large"),
    "large_with_thirty_scans": (
        with_size(with_scans(PROGRESSIVE, 30), 7_000, 8_000), "too-large",
    ),
    "no_width": (with_size(GOOD, 0, 64), "undecodable"),
    "two_frames": (GOOD.replace(b"\xff\xda", _FRAME + b"\xff\xda"), "undecodable"),
    "odd_png_depth": (GOOD_PNG[:24] + b"\x07" + GOOD_PNG[25:], "undecodable"),
    "cut_in_header": (GOOD[:100], "truncated"),
    "cut_in_png_header": (GOOD_PNG[:20], "truncated"),
    "half": (GOOD[: len(GOOD) // 2], "truncated"),
    "half_png": (GOOD_PNG[: len(GOOD_PNG) // 2], "truncated"),
    "half_progressive": (PROGRESSIVE[: len(PROGRESSIVE) // 2], "truncated"),
    "last_scan_missing": (PROGRESSIVE[: PROGRESSIVE.rfind(b"\xff\xda")], "truncated"),
    "zero_tail": (GOOD[: len(GOOD) // 2] + bytes(len(GOOD) // 2), "truncated"),
    "mp4_without_moov": (b"\0\0\0\x10ftypisom\0\0\0\0\0\0\xff\xffmdat" + bytes(900), "truncated"),
    "avi_without_header": (b"RIFF\x40\0\0\0AVI JUNK\x04\0\0\0abcd", "truncated"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MediaError) as refused:
        decoder.decode(data, WANTED)
    assert refused.value.reason == reason


def test_bombs_cost_neither_time_nor_memory() -> None:
    bombs = [data for data, reason in REFUSED.values() if reason == "too-large"] * 6
    assert len(bombs) == 30
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in bombs:
        start = time.process_time()
        with pytest.raises(MediaError, match="too-large"):
            decoder.decode(bomb, WANTED)
        assert time.process_time() - start < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_the_largest_allowed_size_is_allowed() -> None:
    assert read_header(with_size(GOOD, 10_000, MAX_PIXELS // 10_000)).width == 10_000
    with pytest.raises(MediaError, match="too-large"):
        read_header(with_size(GOOD, 10_000, MAX_PIXELS // 10_000 + 1))


@pytest.mark.parametrize("data", [GOOD, PROGRESSIVE, GOOD_PNG], ids=["jpeg", "progressive", "png"])
def test_a_whole_picture_ends_at_its_last_byte(data: bytes) -> None:
    head = read_header(data)
    assert (head.width, head.height, head.end, head.flaw) == (96, 64, len(data), None)


def test_a_thumbnail_in_the_exif_is_not_taken_for_the_picture() -> None:
    block = b"II*\0\x08\0\0\0\0\0" + jpeg(scene(16, 8))
    assert read_header(jpeg(scene(96, 64), exif=block)).width == 96
    with pytest.raises(MediaError):
        read_header(jpeg(scene(96, 64), exif=block)[: len(block)])


@pytest.mark.parametrize("position", [-2, -1, 0, 1])
def test_the_end_is_found_across_the_borders_of_what_is_looked_at_together(position: int) -> None:
    """Coded data of a large picture: pairs FF 00, then its end, near the border of a block."""
    head = GOOD[: GOOD.find(b"\xff\xda") + 14]
    filling = (b"\x11\xff\x00" * _BLOCK)[: _BLOCK + position]
    whole = head + filling[: -1 if filling.endswith(b"\xff") else None] + b"\xff\xd9"
    assert read_header(whole + b"behind").end == len(whole)
    restarted = head + b"\x11\xff\xd3" * (_BLOCK // 3) + b"\xff\xff\xd9"
    assert read_header(restarted).end == len(restarted)
