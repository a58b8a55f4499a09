"""Where something moved before a camera, without weights.

The looks of one event are compared with each other (what moves) and with what the camera sees
when nothing is there (what is new). Does not cover boxes from those differences
(`edge.detection.motion_regions`) or the memory itself (`edge.detection.motion_background`).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from edge import preprocess
from edge.detect import WHOLE_FRAME_ANIMAL, FoundObject
from edge.detection import motion_background
from edge.detection.motion_background import Background
from edge.detection.motion_features import (
    Mask,
    Plane,
    Planes,
    difference,
    is_infrared,
    likeness,
    planes_of,
)
from edge.detection.motion_regions import Seen, find_objects, trim
from edge.events import EVENT_GAP_SECONDS, group_by_gap
from edge.preprocess import Image

LOOK_SIDE = 320  # pixels, the longest of a look
MIN_CONFIDENCE = 0.5  # of what counts as found
_ANOTHER_VIEW = 0.15  # likeness to the background below which the camera was moved
_RECENT, _RECENT_VIEWS = 2, 4  # frames of a view, and views, kept for the next batch
_ENOUGH_BOXES = 3  # of a burst, to know an animal's size
_STRANGERS = 2  # events of another view after which the camera is learned anew


@dataclass(frozen=True, kw_only=True)
class Look:
    """One frame of a camera, small."""

    key: str  # the caller's name for it
    captured_at: datetime
    image_HWC: Image  # RGB; shrunk where its longest side is over LOOK_SIDE


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is in one look.

    A camera's first frame has nothing to be compared with: one object, the whole frame, without
    a confidence, and a blank score of 0.5. Objects under MIN_CONFIDENCE are in the list too.
    """

    key: str
    objects: tuple[FoundObject, ...]  # surest first, relative boxes
    blank_score: float  # 1: surely nothing there; 0: surely something


@dataclass(frozen=True, kw_only=True)
class View:
    """What has a background of its own: a camera by day or by infrared light, in one format."""

    deployment_id: str
    light: str  # "day 320x213", "infrared 320x213"


class Motion:
    """The detector with its memory; `changed` is what a `look` leaves to be stored."""

    def __init__(self, backgrounds: Mapping[View, Background]) -> None:
        self._backgrounds = dict(backgrounds)
        self.changed: dict[View, Background] = {}
        self._last: dict[View, _Burst] = {}  # the newest last

    def look(self, deployment_id: str, looks: Sequence[Look]) -> list[Found]:
        """What is in each look of one batch, in the order given; the memory learns from it."""
        images = [preprocess.fit_within(one.image_HWC, LOOK_SIDE) for one in looks]
        bursts: dict[View, list[_Burst]] = {}
        for event in group_by_gap([one.captured_at for one in looks]):
            for light, positions in _by_light(event, images).items():
                view = View(deployment_id=deployment_id, light=light)
                frames = [planes_of(images[at], light.startswith("infrared")) for at in positions]
                times = [looks[at].captured_at for at in positions]
                burst = _Burst(positions=positions, frames=frames, times=times)
                bursts.setdefault(view, []).append(burst)
        found: dict[int, Found] = {}
        for view, mine in bursts.items():
            for burst, results in zip(mine, self._find_and_learn(view, mine), strict=True):
                for at, one in zip(burst.positions, results, strict=True):
                    score = one.blank_score
                    found[at] = Found(key=looks[at].key, objects=one.objects, blank_score=score)
        return [found[at] for at in range(len(looks))]

    def _find_and_learn(self, view: View, bursts: Sequence[_Burst]) -> list[list[_Result]]:
        """While the place is new, what a batch's later events show of it helps its first ones."""
        before = memory = self._backgrounds.get(view)
        others = [self._others(view, burst) for burst in bursts]
        found = []
        for burst, apart in zip(bursts, others, strict=True):
            usual = None if memory is None else _usual(memory, burst.frames)
            results = _find_all(burst, apart, usual)
            memory = _learn(memory, usual, burst.frames, results, burst.times)
            found.append(results)
        assert memory is not None, "there is no view without a burst"
        self._backgrounds[view] = self.changed[view] = memory
        if len(bursts) > 1 and (before is None or before.is_young()):
            found = [
                _find_all(burst, apart, _usual(memory, burst.frames))
                for burst, apart in zip(bursts, others, strict=True)
            ]
        return found

    def _others(self, view: View, burst: _Burst) -> list[list[Plane]]:
        """The differences of each frame from others, the last ones of the batch before included."""
        last = self._last.pop(view, None)
        earlier = last.frames[-_RECENT:] if last and _goes_on(last, burst) else []
        self._last[view] = replace(burst, frames=[*earlier, *burst.frames][-_RECENT:])
        if len(self._last) > _RECENT_VIEWS:
            del self._last[next(iter(self._last))]
        return _between([*earlier, *burst.frames])[len(earlier) :]


@dataclass(frozen=True, kw_only=True)
class _Burst:
    """The frames of one event by one light."""

    positions: list[int]  # in the batch
    frames: list[Planes]
    times: list[datetime]


def _goes_on(one: _Burst, other: _Burst) -> bool:
    gap = abs(motion_background.seconds(other.times[0]) - motion_background.seconds(one.times[-1]))
    return gap <= EVENT_GAP_SECONDS


def _find_all(burst: _Burst, others: Sequence[list[Plane]], usual: _Usual | None) -> list[_Result]:
    found = [_find(frame, apart, usual) for frame, apart in zip(burst.frames, others, strict=True)]
    return _agreed(found)


def _agreed(results: list[_Result]) -> list[_Result]:
    """An animal keeps its size through a burst: a box that is much larger once is cut back."""
    firsts = [one.objects[0].box for one in results if one.is_sure]
    if len(firsts) < _ENOUGH_BOXES:
        return results
    width = statistics.median(box.width for box in firsts)
    height = statistics.median(box.height for box in firsts)
    return [_cut_back(one, width, height) if one.is_sure else one for one in results]


def _cut_back(result: _Result, width: float, height: float) -> _Result:
    first, *rest = result.objects
    box = trim(first.box, result.strength, width, height)
    return replace(result, objects=(replace(first, box=box), *rest))


@dataclass(frozen=True, kw_only=True)
class _Usual:
    """A background, unpacked for the frames of an event."""

    planes: Planes
    unrest: Plane
    is_known: Mask


@dataclass(frozen=True, kw_only=True)
class _Result:
    objects: tuple[FoundObject, ...]
    blank_score: float
    apart: Plane | None  # from the background
    strength: Plane  # how surely something is at a pixel
    mask: Mask  # 1 where something was found

    @property
    def is_sure(self) -> bool:
        return bool(self.objects) and (self.objects[0].confidence or 0.0) >= MIN_CONFIDENCE


def _by_light(event: Sequence[int], images: Sequence[Image]) -> dict[str, list[int]]:
    lights: dict[str, list[int]] = {}
    for at in event:
        height, width = images[at].shape[:2]
        light = "infrared" if is_infrared(images[at]) else "day"
        lights.setdefault(f"{light} {width}x{height}", []).append(at)
    return lights


def _usual(before: Background, frames: list[Planes]) -> _Usual | None:
    """None where the event shows another view than the background."""
    planes = before.planes()
    if max(likeness(frames[at], planes) for at in (0, -1)) < _ANOTHER_VIEW:
        return None
    return _Usual(planes=planes, unrest=before.unrest(), is_known=before.is_known())


def _between(frames: list[Planes]) -> list[list[Plane]]:
    """How far each frame is from the next, the one before and one half an event away."""
    num = len(frames)
    pairs = {
        (min(at, other), max(at, other))
        for at in range(num)
        for other in ((at + 1) % num, (at + num // 2) % num)
        if other != at
    }
    apart: list[list[Plane]] = [[] for _ in frames]
    for one, other in sorted(pairs):
        plane = difference(frames[one], frames[other])
        apart[one].append(plane)
        apart[other].append(plane)
    return apart


def _find(frame: Planes, others: list[Plane], usual: _Usual | None) -> _Result:
    """`others`: the differences from other frames of the event."""
    height, width = frame.shape[1:]
    if usual is None and not others:
        everywhere = np.ones((height, width), np.uint8)
        whole = (WHOLE_FRAME_ANIMAL,)
        strength = everywhere.astype(np.float32)
        return _Result(
            objects=whole, blank_score=0.5, apart=None, mask=everywhere, strength=strength
        )
    if usual is None:  # what no other frame shows there
        least = np.minimum.reduce(others)
        seen, apart = Seen(new=least, moves=least, alone=least), None
    else:
        apart = difference(frame, usual.planes)
        new = apart / usual.unrest
        if others:
            unsure = np.minimum(new, np.minimum.reduce(others))
            new = np.where(usual.is_known > 0, new, unsure)
        moves = np.maximum.reduce(others) / usual.unrest if others else None
        alone = np.minimum.reduce(others) / usual.unrest if others else None
        seen = Seen(new=new, moves=moves, alone=alone)
    objects = find_objects(seen)
    surest = max((one.confidence or 0.0 for one in objects), default=0.0)
    sure = [one for one in objects if (one.confidence or 0.0) >= MIN_CONFIDENCE]
    mask = _cover(sure, height, width)
    return _Result(
        objects=objects,
        blank_score=1.0 - surest,
        apart=apart,
        mask=mask,
        strength=seen.strength,
    )


def _cover(objects: Sequence[FoundObject], height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    for box in (one.box for one in objects):
        rows = slice(round(box.y * height), round((box.y + box.height) * height))
        mask[rows, round(box.x * width) : round((box.x + box.width) * width)] = 1
    return mask


def _learn(
    before: Background | None,
    usual: _Usual | None,
    frames: list[Planes],
    results: list[_Result],
    times: list[datetime],
) -> Background:
    """The memory after the event; after more of the same event it holds nothing new."""
    num = len(frames)
    picked = sorted({0, num // 2, num - 1})
    masks = [results[at].mask for at in picked]
    found = np.minimum.reduce(masks)
    seen = _between_animals([frames[at] for at in picked], masks)
    if before is None:
        return motion_background.start(seen, found, times[-1])
    now = motion_background.seconds(times[-1])
    gap = abs(motion_background.seconds(times[0]) - before.last_at)
    same_event = gap <= EVENT_GAP_SECONDS
    if usual is None:
        strangers = before.strangers + (0 if same_event else 1)
        if strangers >= _STRANGERS:
            return motion_background.start(seen, found, times[-1])
        return replace(before, strangers=strangers, last_at=now)
    aparts = [plane for at in picked if (plane := results[at].apart) is not None]
    apart = _between_animals(aparts, masks)
    learned = motion_background.learn(before, usual.planes, seen, apart, found, same_event)
    return replace(learned, strangers=0, last_at=now)


def _between_animals(planes: Sequence[Planes], masks: Sequence[Mask]) -> Planes:
    """The mean of those in which a pixel shows the place; of all where none does."""
    free = [1.0 - mask.astype(np.float32) for mask in masks]
    total = np.add.reduce(free)
    shares = [np.where(total > 0, one / np.maximum(total, 1.0), 1.0 / len(free)) for one in free]
    weighted = [np.float32(1) * plane * share for plane, share in zip(planes, shares, strict=True)]
    return np.asarray(np.add.reduce(weighted), np.float32)
