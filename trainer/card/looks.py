"""A picture looked at twice: small, for a finder; and in full where it found an animal.

Scales, crops and their quality are the device's (edge.decoding).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from edge.decoding.crops import Cut
from edge.decoding.decoder import Wanted, scale_for
from edge.decoding.exif import read_exif
from edge.decoding.header import read_header
from edge.detect import Box, FoundObject
from edge.errors import MediaError
from edge.media import decode, decode_stored, read_bytes, upright
from edge.pictures import Picture
from edge.preprocess import Image, InputSpec, fit_within
from trainer.card.table import CropRow
from trainer.cutting import Piece, cut_out

_NO_INPUT = InputSpec(height=1, width=1, resize="squash", pad_value=0)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One picture of the card."""

    picture: Picture
    sha256: str
    captured_at: datetime | None  # by the data or the camera
    width: int  # pixels, upright
    height: int
    image_HWC: Image | None  # small
    problem: str | None  # why it cannot be decoded


def look_at(picture: Picture, side: int) -> Look:
    """The picture shrunk to `side` pixels, decoded as the device does it for a finder."""
    sha256, width, height, captured_at = "", 0, 0, picture.captured_at
    image_HWC: Image | None = None
    problem: str | None = None
    try:
        data = read_bytes(picture.path)
        sha256 = hashlib.sha256(data).hexdigest()
        header = read_header(data)
        exif = read_exif(header.exif)
        captured_at = captured_at or exif.facts.captured_at
        sideways = exif.orientation >= 5
        width, height = (header.height, header.width) if sideways else (header.width, header.height)
        if header.kind == "jpeg" and header.end is None:
            raise MediaError("truncated", "the end of the picture is missing")
        wanted = Wanted(spec=_NO_INPUT, objects=None, look_side=side)
        scale = min(scale_for(wanted, width, height), max(header.mcu_height // 2, 1))
        stored_HWC = decode_stored(data, header, scale)
        image_HWC = fit_within(upright(stored_HWC, exif.orientation), side)
    except MediaError as error:
        problem = str(error)
    return Look(
        picture=picture,
        sha256=sha256,
        captured_at=captured_at,
        width=width,
        height=height,
        image_HWC=image_HWC,
        problem=problem,
    )


def rows_of(look: Look, objects: Sequence[FoundObject] | None) -> list[CropRow]:
    """What the table says of the picture; decodes it in full where there is an animal."""
    if look.problem is not None:
        return [_row(look, "unclassified", left_out=look.problem)]
    if objects is None:
        return [_row(look, "unclassified", left_out="nothing to compare it with")]
    if not objects:
        return [_row(look, "blank")]
    whole = [_in_pixels(one, look) for one in objects]
    pieces: list[Piece] = []
    if any(one.observation_type == "animal" for one in whole):
        try:
            image_HWC = decode(read_bytes(look.picture.path)).image_HWC
        except MediaError as error:
            return [_row(look, "unclassified", left_out=str(error))]
        pieces = cut_out(image_HWC, whole, _NO_INPUT)
    of_object = {id(piece.found): piece for piece in pieces}
    return [_row_of_object(look, one, of_object.get(id(one))) for one in whole]


def _in_pixels(found: FoundObject, look: Look) -> FoundObject:
    """The very pixels that `edge.preprocess.crop` takes of the box."""
    box, width, height = found.box, look.width, look.height
    left = min(max(round(box.x * width), 0), width - 1)
    top = min(max(round(box.y * height), 0), height - 1)
    right = min(max(round((box.x + box.width) * width), left + 1), width)
    bottom = min(max(round((box.y + box.height) * height), top + 1), height)
    return FoundObject(
        box=Box(x=left, y=top, width=right - left, height=bottom - top, relative=False),
        observation_type=found.observation_type,
        confidence=found.confidence,
    )


def _row_of_object(look: Look, found: FoundObject, piece: Piece | None) -> CropRow:
    box = found.box
    return _row(
        look,
        found.observation_type,
        confidence="" if found.confidence is None else f"{found.confidence:.3f}",
        bbox=f"[{box.x:.0f}, {box.y:.0f}, {box.width:.0f}, {box.height:.0f}]",
        cut=piece.cut if piece else None,
        left_out=(piece.unfit or "") if piece else "",
    )


def _row(
    look: Look,
    observation_type: str,
    confidence: str = "",
    bbox: str = "",
    cut: Cut | None = None,
    left_out: str = "",
) -> CropRow:
    quality = cut.quality if cut else None
    when = look.captured_at
    return CropRow(
        path=look.picture.name,
        sha256=look.sha256,
        captured_at=when.isoformat(sep=" ", timespec="milliseconds") if when else "",
        observation_type=observation_type,
        confidence=confidence,
        bbox=bbox,
        quality=f"{quality.of_crop:.3f}" if quality else "",
        pixels=f"{quality.pixels:.3f}" if quality else "",
        sharpness=f"{quality.sharpness:.3f}" if quality else "",
        exposure=f"{quality.exposure:.3f}" if quality else "",
        whole=f"{quality.whole:.3f}" if quality else "",
        left_out=left_out,
    )
