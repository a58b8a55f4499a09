"""Bytes of a picture or clip in, what is kept of it out: the work of one decoding process.

A pure function of its arguments. It is called in a guarded process (`edge.decoding.guard`), since a
decoder may crash, hang or eat memory; nothing here guards against that. It takes the process's
standard error while it runs (`edge.decoding.damage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edge.decoding import container, damage, header
from edge.decoding.clips import Clip, Sample
from edge.decoding.crops import CROP_LONGEST_SIDE, Cut, cut
from edge.decoding.exif import Facts, read_exif
from edge.decoding.header import Header, read_header
from edge.decoding.people import hide_people
from edge.detect import WHOLE_FRAME, FoundObject, People
from edge.errors import MediaError
from edge.media import decode_stored, upright
from edge.preprocess import Image, InputSpec, fit_within

MediaTime = Literal["exif", "container"]
_ZERO_TAIL = bytes(16)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be kept of a medium."""

    spec: InputSpec
    objects: tuple[FoundObject, ...] | None  # boxes to cut out; None: none known yet
    look_side: int | None  # longest side in pixels of a small whole picture; None: not wanted
    # Of a clip: only these frames, by their number from 0, each with boxes of its own instead of
    # `objects`. None: those sampled by time.
    of_frames: Mapping[int, tuple[FoundObject, ...]] | None = None
    people: People = People.drop

    def cuts_out(self, found: FoundObject) -> bool:
        """No crop is ever made of what may be a person unless the user wants it."""
        if found.observation_type == "human":
            return self.people is not People.drop
        return found.observation_type == "animal"


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture of a medium."""

    frame_ms: int | None  # since the clip's start; None for a still picture
    cuts: tuple[Cut | None, ...]  # one per object; None unless the object is cut out
    look_HWC: Image | None
    objects: tuple[FoundObject, ...] = ()
    frame_number: int | None = None  # in the clip, from 0; None for a still picture


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A medium that could be decoded, though perhaps damaged."""

    kind: Literal["image", "video"]
    width: int  # pixels, upright
    height: int
    facts: Facts
    time_source: MediaTime | None  # of facts.captured_at; None where there is none
    damage: str | None  # a word, a colon, and what was seen
    views: tuple[View, ...]
    num_frames: int | None  # of a clip, gone through
    duration_seconds: float | None  # of a clip, as far as it was gone through


def decode(data: bytes, wanted: Wanted) -> Decoded:
    """What is kept of a picture or clip; raises MediaError where it cannot be used."""
    if header.is_picture(data):
        return _decode_picture(data, wanted)
    if container.kind_of(data) is not None:
        return _decode_clip(data, wanted)
    header.refuse_empty(data)
    raise MediaError("type", "not a JPEG, PNG, MP4, MOV, AVI, MKV or WebM by its content")


def scale_for(wanted: Wanted, width: int, height: int) -> int:
    """How far a JPEG of this upright size may be reduced while it is decoded: 1, 2, 4 or 8.

    The whole frame stays twice as large as the encoder's input, so that averaging has something to
    average; a box three times, as its edges lie between the reduced pixels (docs/PERFORMANCE.md).
    Both stay as large as the copy kept for people, and the look as large as wanted.
    """
    needs = [1.0]
    if wanted.look_side is not None:
        needs.append(wanted.look_side / max(width, height))
    for one in wanted.objects or ():
        if not wanted.cuts_out(one):
            continue
        box = one.box.to_relative(width, height)
        sides = (max(box.width * width, 1.0), max(box.height * height, 1.0))
        spec, times = wanted.spec, 2 if box == WHOLE_FRAME else 3
        needs.append(
            max(
                times * spec.width / sides[0],
                times * spec.height / sides[1],
                CROP_LONGEST_SIDE / max(sides),
            )
        )
    enough = [scale for scale in (8, 4, 2) if scale * max(needs[1:], default=0.0) <= 1]
    return enough[0] if enough else 1


def _decode_picture(data: bytes, wanted: Wanted) -> Decoded:
    head = read_header(data)
    exif = read_exif(head.exif)
    sideways = exif.orientation >= 5
    width, height = (head.height, head.width) if sideways else (head.width, head.height)
    scale = 1
    if head.kind == "jpeg":  # at least two rows must be left of each block to look for damage
        scale = min(scale_for(wanted, width, height), head.mcu_height // 2)
    with damage.native_messages() as messages:
        stored_HWC = decode_stored(_whole(data, head), head, scale)
    complaint = damage.of_messages(messages)
    if head.end is None and complaint is not None:
        raise MediaError("truncated", "the end of the picture is missing")
    found = (
        _structural_damage(data, head)
        or complaint
        or damage.of_blocks(stored_HWC, scale, head.mcu_height)
    )
    image_HWC = upright(stored_HWC, exif.orientation)
    return Decoded(
        kind="image",
        width=width,
        height=height,
        facts=exif.facts,
        time_source="exif" if exif.facts.captured_at is not None else None,
        damage=found,
        views=(_view(image_HWC, (width, height), wanted, wanted.objects or ()),),
        num_frames=None,
        duration_seconds=None,
    )


def _whole(data: bytes, head: Header) -> bytes:
    """The bytes for the decoder: nothing behind the picture's end; a JPEG's end mark supplied.

    A JPEG that lacks only that mark decodes without complaint once it has it.
    """
    if head.end is not None:
        return data[: head.end]
    if head.kind == "png" or head.progressive or data.endswith(_ZERO_TAIL):
        raise MediaError("truncated", "the end of the picture is missing")
    return data + b"\xff\xd9"


def _structural_damage(data: bytes, head: Header) -> str | None:
    if head.flaw is not None:
        return f"{head.flaw}: broken between its start and its end"
    if head.end is None:
        return "end: the mark of its end is missing"
    behind = data[head.end :]
    # Some cameras fill up with zeros or FF, or append further pictures of their own.
    if behind.strip(b"\0\xff") and not behind.lstrip(b"\0\xff").startswith(b"\xd8\xff"):
        return f"trailing: {len(behind)} bytes behind its end"
    return None


def _view(
    image_HWC: Image,
    full_size: tuple[int, int],
    wanted: Wanted,
    objects: tuple[FoundObject, ...],
    sample: Sample | None = None,
) -> View:
    """`image_HWC` may be a reduced copy of the picture of `full_size` (width, height)."""
    objects = tuple(replace(one, box=one.box.to_relative(*full_size)) for one in objects)
    people = [one.box for one in objects if one.observation_type == "human"]
    shown_HWC = hide_people(image_HWC, people, wanted.people)
    return View(
        frame_ms=None if sample is None else sample.frame_ms,
        cuts=tuple(
            cut(shown_HWC, one.box, wanted.spec, full_size) if wanted.cuts_out(one) else None
            for one in objects
        ),
        look_HWC=(
            None if wanted.look_side is None else fit_within(image_HWC, wanted.look_side).copy()
        ),
        objects=objects,
        frame_number=None if sample is None else sample.frame_number,
    )


def _decode_clip(data: bytes, wanted: Wanted) -> Decoded:
    told = container.read_container(data)
    views: list[View] = []
    with damage.native_messages() as messages:
        clip = Clip(data)
        try:
            for sample in clip.samples(None if wanted.of_frames is None else set(wanted.of_frames)):
                objects = wanted.objects or ()
                if wanted.of_frames is not None:
                    objects = wanted.of_frames[sample.frame_number]
                size = (sample.image_HWC.shape[1], sample.image_HWC.shape[0])
                views.append(_view(sample.image_HWC, size, wanted, objects, sample))
        finally:
            clip.close()
    if clip.size is None:
        raise MediaError(
            "truncated" if told.cut_short else "undecodable", "no frame of this clip can be decoded"
        )
    return Decoded(
        kind="video",
        width=clip.size[0],
        height=clip.size[1],
        facts=Facts(captured_at=told.captured_at),
        time_source="container" if told.captured_at is not None else None,
        damage=_clip_damage(told.cut_short, clip, messages),
        views=tuple(sorted(views, key=lambda view: view.frame_number or 0)),
        num_frames=clip.num_frames,
        duration_seconds=clip.duration_seconds,
    )


def _clip_damage(cut_short: bool, clip: Clip, messages: list[str]) -> str | None:
    if cut_short:
        return f"end: the clip is cut short; {clip.num_frames} frames"
    if clip.left_off:
        return f"partial: only its first {clip.duration_seconds:.0f} seconds were looked at"
    if clip.ended and clip.num_claimed is not None and clip.num_frames < 0.9 * clip.num_claimed:
        return f"frames: {clip.num_frames} of {clip.num_claimed} can be decoded"
    return damage.of_clip_messages(messages)
