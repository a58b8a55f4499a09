"""A picture comes out upright, whole and at the right scale; a damaged one says so."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge import media, preprocess
from edge.decoding import damage, decoder
from edge.decoding.decoder import Decoded, scale_for
from edge.decoding.header import read_header
from edge.detect import WHOLE_FRAME_ANIMAL, Box, FoundObject
from edge.errors import MediaError
from edge.preprocess import InputSpec

from ..media_files import SPEC, WANTED, clip, jpeg, png, scene, short, text, tiff

FULL = scene(640, 480)
WHOLE = jpeg(FULL)


def _quarters(width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """Red, green over blue, white."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    return image


def _corners(image_HWC: NDArray[np.uint8]) -> str:
    """The colours of the four corners, row by row."""
    letters = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    pixels = image_HWC[[2, 2, -3, -3], [2, -3, 2, -3]] > 127
    return "".join(letters[tuple(pixel.astype(int))] for pixel in pixels)


def _object(kind: str = "animal", **sides: float) -> FoundObject:
    return FoundObject(box=Box(relative=True, **sides), observation_type=kind, confidence=0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("orientation", "corners"),
    [(0, "rgbw"), (1, "rgbw"), (2, "grwb"), (3, "wbgr"), (4, "bwrg"), (5, "rbgw"), (6, "brwg"),
     (7, "wgbr"), (8, "gwrb"), (9, "rgbw"), (999, "rgbw")],
)  # fmt: skip
def test_every_orientation_is_applied_once(orientation: int, corners: str) -> None:
    data = jpeg(_quarters(), exif=tiff([short(0x0112, orientation)]))
    done = decoder.decode(data, replace(WANTED, look_side=96))
    size = (64, 96) if 5 <= orientation <= 8 else (96, 64)
    assert (done.width, done.height) == size
    look = done.views[0].look_HWC
    assert look is not None
    assert look.shape[:2] == size[::-1]
    assert _corners(look) == corners
    assert _corners(media.decode(data).image_HWC) == corners
    cut = done.views[0].cuts[0]
    assert cut is not None
    assert _corners(cut.encoder_HWC) == corners


def test_a_box_is_cut_from_the_upright_picture() -> None:
    data = jpeg(_quarters(1600, 1200), exif=tiff([short(0x0112, 6)]))
    wanted = replace(WANTED, objects=(_object(x=0.5, y=0.0, width=0.5, height=0.5),))
    (cut,) = decoder.decode(data, wanted).views[0].cuts
    assert cut is not None
    assert _corners(cut.encoder_HWC) == "rrrr"


def test_time_and_camera_come_from_the_exif() -> None:
    block = tiff([text(0x0110, "E8")], [text(0x9003, "2021:04:11 20:43:09")])
    done = decoder.decode(jpeg(FULL, exif=block), WANTED)
    assert (done.kind, done.time_source, done.damage) == ("image", "exif", None)
    assert done.facts.captured_at == datetime(2021, 4, 11, 20, 43, 9)
    assert done.facts.camera == "E8"
    assert decoder.decode(WHOLE, WANTED).time_source is None


def test_no_crop_is_made_of_a_person() -> None:
    sides = {"x": 0.1, "y": 0.1, "width": 0.5, "height": 0.5}
    kinds = ("human", "animal", "unclassified", "vehicle")
    wanted = replace(WANTED, objects=tuple(_object(kind, **sides) for kind in kinds))
    assert [one is not None for one in decoder.decode(WHOLE, wanted).views[0].cuts] == [
        False, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "look_side", "scale"),
    [
        ((WHOLE_FRAME_ANIMAL,), None, 4),  # 3000 / 4 >= 2 x 256
        ((_object(x=0.4, y=0.4, width=0.33, height=0.33),), None, 1),  # 990 high
        ((_object(x=0.4, y=0.4, width=0.4, height=0.4),), None, 1),  # 1200 high
        ((_object(x=0.4, y=0.4, width=0.6, height=0.55),), None, 2),  # 1650 / 2 >= 3 x 256
        ((_object("human", x=0.4, y=0.4, width=0.1, height=0.1),), None, 8),
        ((), None, 8),
        (None, 640, 4),
        (None, 416, 8),
        (None, None, 8),
    ],
)
def test_a_picture_is_reduced_as_far_as_every_crop_allows(
    objects: tuple[FoundObject, ...] | None, look_side: int | None, scale: int
) -> None:
    spec = InputSpec(height=256, width=256, resize="squash", pad_value=0)
    wanted = replace(WANTED, spec=spec, objects=objects, look_side=look_side)
    assert scale_for(wanted, 4000, 3000) == scale


def test_a_reduced_decode_gives_the_encoder_the_same_picture() -> None:
    image = scene(2048, 1536)
    data = jpeg(image)
    spec = InputSpec(height=128, width=128, resize="squash", pad_value=0)
    wanted = replace(WANTED, spec=spec)
    assert scale_for(wanted, 2048, 1536) == 4
    (cut,) = decoder.decode(data, wanted).views[0].cuts
    assert cut is not None
    whole = preprocess.resize(media.decode(data).image_HWC, spec).astype(np.float64)
    error = np.mean((whole - cut.encoder_HWC) ** 2)
    assert 10 * np.log10(255**2 / error) > 42  # dB


def test_a_box_between_the_pixels_of_a_reduced_picture_gives_the_same_crop() -> None:
    data = jpeg(scene(2048, 1536))
    spec = InputSpec(height=64, width=64, resize="squash", pad_value=0)
    found = _object(x=0.2007, y=0.1018, width=0.6003, height=0.7011)
    wanted = replace(WANTED, spec=spec, objects=(found,))
    assert scale_for(wanted, 2048, 1536) > 1
    (cut,) = decoder.decode(data, wanted).views[0].cuts
    assert cut is not None
    whole = preprocess.crop(media.decode(data).image_HWC, found.box)
    error = np.mean((preprocess.resize(whole, spec).astype(np.float64) - cut.encoder_HWC) ** 2)
    assert 10 * np.log10(255**2 / error) > 48  # dB; 40 with the box rounded to its pixels


@pytest.mark.parametrize("percent", [5, 20, 50, 80, 95, 99])
def test_a_truncated_picture_is_never_taken_for_a_whole_one(percent: int) -> None:
    for data in (WHOLE, png(scene(160, 120)), jpeg(FULL, progressive=True)):
        with pytest.raises(MediaError, match="truncated"):
            decoder.decode(data[: len(data) * percent // 100], WANTED)


def test_only_the_end_mark_missing_is_a_damaged_picture() -> None:
    damaged = decoder.decode(WHOLE[:-2], WANTED).damage
    assert damaged is not None
    assert damaged.startswith("end:")


@pytest.mark.parametrize(
    ("behind", "flagged"),
    [(bytes(512), False), (b"\xff" * 64, False), (jpeg(scene(64, 48)), False), (b"PK\3\4zip", True),
     (b"<script>alert(1)</script>", True)],
    ids=["zeros", "ones", "second_picture", "archive", "script"],
)  # fmt: skip
def test_what_lies_behind_the_end_is_not_decoded(behind: bytes, flagged: bool) -> None:
    done = decoder.decode(WHOLE + behind, WANTED)
    assert (done.damage is not None) == flagged


def test_a_png_with_a_wrong_checksum_is_damaged_or_refused() -> None:
    data = png(scene(160, 120))
    body = bytearray(data)
    body[len(body) // 2] ^= 1
    assert read_header(bytes(body)).flaw == "checksum"
    try:
        assert decoder.decode(bytes(body), WANTED).damage is not None
    except MediaError as error:
        assert error.reason == "undecodable"


def test_flips_that_show_are_flagged_and_intact_pictures_are_not() -> None:
    rng = random.Random(11)
    shown = flagged = 0
    for seed in range(6):
        data = jpeg(scene(640, 480, seed), subsampling=seed % 3)
        assert decoder.decode(data, WANTED).damage is None
        whole = media.decode(data).image_HWC.astype(np.int16)
        for _ in range(12):
            body = bytearray(data)
            body[rng.randrange(len(body) // 20, len(body))] ^= 1 << rng.randrange(8)
            try:
                changed = media.decode(bytes(body)).image_HWC
                done: Decoded | None = decoder.decode(bytes(body), WANTED)
            except MediaError:
                continue
            if (np.abs(changed - whole).max(axis=2) > 8).mean() > 0.05:
                shown += 1
                flagged += done is not None and done.damage is not None
    assert shown > 20
    assert flagged / shown >= 0.8


def test_a_banner_and_a_logo_are_no_damage() -> None:
    image = scene(640, 480)
    image[-32:] = 0
    image[:16] = 20
    image[:16, :160] = 230
    assert decoder.decode(jpeg(image, subsampling=0), WANTED).damage is None


def test_messages_of_c_libraries_are_caught_and_standard_error_given_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    import os

    with damage.native_messages() as lines:
        os.write(2, b"Corrupt JPEG data: 3 extraneous bytes\n" * 10_000)
    os.write(2, b"after")
    assert damage.of_messages(lines) == "stream: Corrupt JPEG data: 3 extraneous bytes"
    assert capfd.readouterr().err == "after"


# --- clips


def _frames(number: int, width: int = 96, height: int = 64) -> list[NDArray[np.uint8]]:
    return [np.full((height, width, 3), 4 * one % 256, np.uint8) for one in range(number)]


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_clip_is_sampled_once_a_second(suffix: str) -> None:
    done = decoder.decode(clip(_frames(35), suffix, rate=10.0), replace(WANTED, look_side=32))
    assert (done.kind, done.num_frames, done.damage) == ("video", 35, None)
    assert [one.frame_ms for one in done.views] == [0, 1000, 2000, 3000]
    assert done.duration_seconds == pytest.approx(3.5, abs=0.11)
    shades = [int(one.look_HWC.mean()) for one in done.views if one.look_HWC is not None]
    assert shades == pytest.approx([0, 40, 80, 120], abs=4)


def test_a_long_clip_gives_no_more_than_64_frames() -> None:
    done = decoder.decode(clip(_frames(150), rate=1.0), WANTED)
    times = [one.frame_ms for one in done.views]
    assert len(times) <= 64
    assert times[-1] is not None
    assert times[-1] > 120_000


def _passing(at: range, number: int) -> list[NDArray[np.uint8]]:
    """A grainy place, ten frames a second, which something crosses in these frames."""
    rng = np.random.default_rng(2)
    place = scene(96, 64).astype(np.float32)
    frames = []
    for one in range(number):
        image = place + rng.normal(0, 2, place.shape)
        if one in at:
            left = 4 * (one - at.start)
            image[20:44, left : left + 24] = 230
        frames.append(np.clip(image, 0, 255).astype(np.uint8))
    return frames


def test_frames_between_are_taken_while_something_moves() -> None:
    done = decoder.decode(clip(_passing(range(203, 219), 300), rate=10.0), WANTED)
    times = [one.frame_ms for one in done.views if one.frame_ms is not None]
    assert times == sorted(set(times))
    assert set(range(0, 30_000, 1000)) <= set(times), "one a second, whatever moves"
    between = {time for time in times if time % 1000}
    assert 3 <= len(between) <= 8
    assert all(20_000 <= time <= 22_500 for time in between), between


def test_nothing_but_light_moves_and_no_frame_more_is_taken() -> None:
    frames = _passing(range(0), 80)
    lit = [
        np.clip(one * (0.7 + 0.005 * at), 0, 255).astype(np.uint8) for at, one in enumerate(frames)
    ]
    done = decoder.decode(clip(lit, rate=10.0), WANTED)
    assert [one.frame_ms for one in done.views] == list(range(0, 8000, 1000))


def test_half_a_clip_gives_its_half_and_says_so() -> None:
    data = clip(_frames(30))
    done = decoder.decode(data[: len(data) // 2], WANTED)
    assert done.damage is not None
    assert done.damage.startswith("end:")
    assert done.num_frames is not None
    assert 1 <= done.num_frames < 30


@pytest.mark.parametrize("claimed", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("rate", [0, 1, 0xFFFFFFFF])
def test_a_header_that_lies_about_frames_and_rate_is_survived(claimed: int, rate: int) -> None:
    data = bytearray(clip(_frames(12), rate=4.0))
    avih, strh = data.find(b"avih") + 8, data.find(b"strh") + 8
    data[avih + 16 : avih + 20] = claimed.to_bytes(4, "little")
    data[strh + 32 : strh + 36] = claimed.to_bytes(4, "little")
    data[strh + 24 : strh + 28] = rate.to_bytes(4, "little")
    done = decoder.decode(bytes(data), WANTED)
    assert 1 <= len(done.views) <= 12


def test_the_time_of_a_clip_comes_from_its_container() -> None:
    mp4 = bytearray(clip(_frames(4), ".mp4"))
    mvhd = mp4.find(b"mvhd") + 4
    seconds = int((datetime(2024, 5, 6, 7, 8, 9) - datetime(1904, 1, 1)).total_seconds())
    mp4[mvhd + 4 : mvhd + 8] = seconds.to_bytes(4, "big")
    done = decoder.decode(bytes(mp4), WANTED)
    assert (done.facts.captured_at, done.time_source) == (
        datetime(2024, 5, 6, 7, 8, 9),
        "container",
    )
    assert decoder.decode(clip(_frames(4), ".mp4"), WANTED).time_source is None


@pytest.mark.parametrize("text_", [b"Mon Apr 12 20:43:09 2021\n\0", b"2021:04:12 20:43:09\0"])
def test_the_time_of_an_avi_is_read_from_idit(text_: bytes) -> None:
    avi = clip(_frames(4))
    at = avi.find(b"LIST", 16)  # within hdrl, in front of its first stream
    extra = b"IDIT" + len(text_).to_bytes(4, "little") + text_ + b"\0" * (len(text_) % 2)
    size = int.from_bytes(avi[16:20], "little") + len(extra)
    whole = avi[:16] + size.to_bytes(4, "little") + avi[20:at] + extra + avi[at:]
    whole = whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:]
    assert decoder.decode(whole, WANTED).facts.captured_at == datetime(2021, 4, 12, 20, 43, 9)


def test_a_clip_with_a_turn_in_its_header_comes_out_upright() -> None:
    frame = cv2.resize(_quarters(), (96, 64), interpolation=cv2.INTER_NEAREST)
    data = bytearray(clip([frame] * 4, ".mp4"))
    matrix = data.find(b"tkhd") + 4 + 40
    turned = (0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(one.to_bytes(4, "big") for one in turned)
    done = decoder.decode(bytes(data), replace(WANTED, look_side=96))
    assert (done.width, done.height) == (64, 96)
    assert done.views[0].look_HWC is not None
    assert _corners(done.views[0].look_HWC) == "brwg"


def test_the_encoders_size_is_kept() -> None:
    (cut,) = decoder.decode(WHOLE, WANTED).views[0].cuts
    assert cut is not None
    assert cut.encoder_HWC.shape == (SPEC.height, SPEC.width, 3)
