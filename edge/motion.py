"""Where something moved before a camera, without weights.

Looks of one event are compared with each other (what moves) and with the camera's background
(what is new). An animal is new and moves; what is new and stands still in the whole event is
found too, less surely. Does not cover the memory itself (`edge.motion_background`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np

from edge import motion_background as memory
from edge import preprocess
from edge.detect import WHOLE_FRAME, Box, FoundObject
from edge.events import EVENT_GAP_SECONDS, group_by_gap
from edge.motion_background import Background
from edge.motion_features import (
    Mask,
    Plane,
    Planes,
    difference,
    is_infrared,
    likeness,
    planes_of,
)
from edge.preprocess import Image

LOOK_SIDE = 320  # pixels, the longest of a look
MIN_CONFIDENCE = 0.5  # of what counts as found; standing still stays below
_NEW, _MOVES = 4.5, 5.0  # differences from which a pixel is new, or moves
_REACH = 0.05  # of the picture's width: how far from what moves its body may be
_LEAST_AREA = 0.003  # of the picture
_NEAR = 0.03  # of the picture's width; parts of one animal are nearer
_ANOTHER_VIEW = 0.15  # likeness to the background below which the camera was moved
_KNOWN = 0.9  # votes from which a background is believed
_DOUBT_MOVING, _DOUBT_STILL = 0.6, 4.0  # strengths that are believed by half


@dataclass(frozen=True, kw_only=True)
class Look:
    """One frame of a camera, small."""

    key: str  # the caller's name for it
    captured_at: datetime
    image_HWC: Image  # RGB; shrunk here where its longest side is over LOOK_SIDE


@dataclass(frozen=True, kw_only=True)
class Found:
    key: str
    objects: tuple[FoundObject, ...]  # surest first, with relative boxes; those under
    # MIN_CONFIDENCE are left to the caller
    blank_score: float  # 1: surely nothing there; 0: surely something


@dataclass(frozen=True, kw_only=True)
class View:
    """What has a background of its own: a camera by day or by infrared light, in one format."""

    deployment_id: str
    light: str  # "day 320x213", "infrared 320x213"


class Motion:
    """The detector with its memory; `changed` is what has to be stored after a `look`."""

    def __init__(self, backgrounds: Mapping[View, Background]) -> None:
        self._backgrounds = dict(backgrounds)
        self.changed: dict[View, Background] = {}

    def look(self, deployment_id: str, looks: Sequence[Look]) -> list[Found]:
        """What is in each look of one batch, in the order given; the memory learns from it."""
        found: dict[int, Found] = {}
        for positions in group_by_gap([one.captured_at for one in looks]):
            by_light: dict[str, list[int]] = {}
            images = {at: preprocess.fit_within(looks[at].image_HWC, LOOK_SIDE) for at in positions}
            for at in positions:
                by_light.setdefault(_light(images[at]), []).append(at)
            for light, mine in by_light.items():
                view = View(deployment_id=deployment_id, light=light)
                event = [looks[at] for at in mine]
                for at, one in zip(
                    mine, self._event(view, event, [images[at] for at in mine]), strict=True
                ):
                    found[at] = one
        return [found[at] for at in range(len(looks))]

    def _event(self, view: View, looks: list[Look], images: list[Image]) -> list[Found]:
        frames = [planes_of(one, infrared=view.light.startswith('infrared')) for one in images]
        moves = _moves(frames)
        before = self._backgrounds.get(view)
        usable = before if before is not None and _same_view(before, frames) else None
        results = [
            _find(frame, moving, usable)
            for frame, moving in zip(frames, moves, strict=True)
        ]
        after = _remember(before, usable, frames, results, looks)
        self._backgrounds[view] = self.changed[view] = after
        return [
            Found(key=one.key, objects=result.objects, blank_score=result.blank_score)
            for one, result in zip(looks, results, strict=True)
        ]


def _light(image_HWC: Image) -> str:
    height, width = image_HWC.shape[:2]
    return f"{'infrared' if is_infrared(image_HWC) else 'day'} {width}x{height}"


@dataclass(frozen=True, kw_only=True)
class _Moving:
    """How far one frame is from the others of its event."""

    most: Plane
    least: Plane  # what no other frame shows there


@dataclass(frozen=True, kw_only=True)
class _Result:
    objects: tuple[FoundObject, ...]
    blank_score: float
    apart: Plane | None  # from the background
    mask: Mask  # where something was found


def _moves(frames: list[Planes]) -> list[_Moving | None]:
    """Each frame against its neighbours and one half an event away; None for a single frame."""
    num = len(frames)
    if num == 1:
        return [None]
    pairs = {tuple(sorted((at, (at + step) % num))) for at in range(num) for step in (1, num // 2)}
    apart: list[list[Plane]] = [[] for _ in frames]
    for one, other in sorted(pair for pair in pairs if pair[0] != pair[1]):
        plane = difference(frames[one], frames[other])
        apart[one].append(plane)
        apart[other].append(plane)
    return [
        _Moving(most=np.max(planes, axis=0), least=np.min(planes, axis=0)) for planes in apart
    ]


def _same_view(before: Background, frames: list[Planes]) -> bool:
    own = before.planes()
    return max(likeness(one, own) for one in (frames[0], frames[-1])) >= _ANOTHER_VIEW


def _find(frame: Planes, moving: _Moving | None, usable: Background | None) -> _Result:
    height, width = frame.shape[1:]
    if usable is None and moving is None:
        whole = FoundObject(box=WHOLE_FRAME, observation_type="animal", confidence=None)
        mask = np.ones((height, width), np.uint8)
        return _Result(objects=(whole,), blank_score=0.5, apart=None, mask=mask)
    apart = None
    if usable is None:
        assert moving is not None
        new, alive = moving.least, moving.least
    else:
        apart = difference(frame, usable.planes())
        new = apart / usable.usual()
        if moving is not None:
            new = np.where(usable.known() >= _KNOWN, new, np.minimum(new, moving.least))
        alive = new if moving is None else moving.most
        if moving is not None:
            alive = alive / usable.usual()
    regions = _regions(new, alive, moving is not None)
    objects = tuple(sorted((_object(one, height, width) for one in regions), key=_surest))
    mask = np.zeros((height, width), np.uint8)
    for one in regions:
        mask[one.top : one.bottom, one.left : one.right] = 1
    surest = max((one.confidence or 0.0 for one in objects), default=0.0)
    return _Result(objects=objects, blank_score=1.0 - surest, apart=apart, mask=mask)


@dataclass(frozen=True, kw_only=True)
class _Region:
    left: int  # pixels
    top: int
    right: int
    bottom: int
    strength: float
    alive: bool


def _surest(one: FoundObject) -> tuple[float, float]:
    return -(one.confidence or 0.0), one.box.x


def _kernel(size: int) -> Mask:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _regions(new: Plane, alive: Plane, compared: bool) -> list[_Region]:
    height, width = new.shape
    fresh = (new > _NEW).astype(np.uint8)
    moves = (alive > _MOVES).astype(np.uint8)
    moves = cv2.morphologyEx(moves & fresh, cv2.MORPH_OPEN, _kernel(3))
    near = cv2.dilate(moves, _kernel(2 * int(_REACH * width) // 2 + 1))
    living = cv2.morphologyEx(fresh & near, cv2.MORPH_CLOSE, _kernel(7))
    living = cv2.morphologyEx(living, cv2.MORPH_OPEN, _kernel(5))
    regions = _boxes(living, np.minimum(new, 1.5 * alive), alive=True)
    still = cv2.morphologyEx(fresh & (1 - near), cv2.MORPH_CLOSE, _kernel(7))
    still = cv2.morphologyEx(still, cv2.MORPH_OPEN, _kernel(5))
    return regions + _boxes(still, new, alive=False)


def _boxes(mask: Mask, new: Plane, alive: bool) -> list[_Region]:
    height, width = mask.shape
    gap = int(_NEAR * width)
    joined = cv2.dilate(mask, _kernel(2 * (gap // 2) + 1))
    num, labels = cv2.connectedComponents(joined, connectivity=8)
    labels = labels * mask
    regions = []
    for label in range(1, num):
        mine = (labels == label)
        area = int(mine.sum())
        if area < _LEAST_AREA * height * width:
            continue
        left, top, w, h = cv2.boundingRect(mine.astype(np.uint8))
        regions.append(
            _Region(left=left, top=top, right=left + w, bottom=top + h,
                    strength=float(new[mine].mean()) * (area / (height * width)) ** 0.5, alive=alive)
        )
    return regions


def _object(region: _Region, height: int, width: int) -> FoundObject:
    doubt = _DOUBT_MOVING if region.alive else _DOUBT_STILL
    confidence = region.strength / (region.strength + doubt)
    box = Box(
        x=region.left / width, y=region.top / height, width=(region.right - region.left) / width,
        height=(region.bottom - region.top) / height, relative=True,
    )
    return FoundObject(box=box, observation_type="animal", confidence=confidence)


def _remember(before, usable, frames, results, looks) -> Background:
    seen = frames[0] if len(frames) == 1 else np.median(np.stack(frames), axis=0)
    at = looks[-1].captured_at
    found = np.max([one.mask for one in results], axis=0)
    if usable is None:
        return memory.start(seen, found, at)
    apart = np.median(np.stack([one.apart for one in results]), axis=0)
    return memory.learn(usable, seen, apart, found, at)
