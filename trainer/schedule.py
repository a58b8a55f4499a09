"""What passes where and when in a synthetic world: its plan, turned into events at cameras.

Three parts (train, gallery, inbox) that share no cameras. Does not cover drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from edge.errors import InputError
from trainer.animal import Flank

Part = Literal["train", "gallery", "inbox"]
Light = Literal["day", "dusk", "infrared"]

_PARTS: tuple[Part, ...] = ("train", "gallery", "inbox")
_CAMERAS: dict[Part, tuple[str, ...]] = {
    "train": ("creek", "den", "meadow", "ridge"),
    "gallery": ("boma", "spring", "track"),
    "inbox": ("ford", "gate", "kopje", "waterhole"),
}
_FIRST_DAY = {
    "train": datetime(2026, 3, 1, 5, 30),
    "gallery": datetime(2026, 5, 1, 5, 30),
    "inbox": datetime(2026, 6, 1, 5, 30),
}


@dataclass(frozen=True, kw_only=True)
class WorldPlan:
    """How much is drawn; the defaults are the demo's."""

    num_train: int = 60  # unlabelled individuals
    train_events: int = 6  # per individual, half of them from the left
    num_known: int = 20  # individuals in the gallery
    gallery_events: int = 4  # per individual, half of them from the left
    inbox_events: int = 3  # per known individual
    num_strangers: int = 24  # individuals in the inbox only
    stranger_events: int = 1
    burst_frames: int = 3  # one second apart
    num_blanks: int = 12  # frames of the inbox without an animal
    frame_width: int = 480  # pixels
    frame_height: int = 320

    def __post_init__(self) -> None:
        """Raises InputError where a number is too small to draw with."""
        least = {"num_known": 1, "gallery_events": 1, "burst_frames": 1}
        least |= {"frame_width": 120, "frame_height": 80}
        for name, value in vars(self).items():
            if value < least.get(name, 0):
                raise InputError(f"WorldPlan.{name} is {value}; give {least.get(name, 0)} or more")


def tiny_plan() -> WorldPlan:
    """A world for tests, drawn in a second or two: too small to learn from."""
    return WorldPlan(
        num_train=6,
        train_events=2,
        num_known=4,
        gallery_events=2,
        inbox_events=1,
        num_strangers=2,
        num_blanks=4,
        frame_width=300,
        frame_height=200,
    )


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One animal walks past, or (identity "") one false alarm."""

    part: Part
    identity: str
    flank: Flank | Literal[""]
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class Event:
    """A visit with its camera, its time and the number of its first picture there."""

    number: int  # unique in the world; seeds its drawing
    visit: Visit
    camera: str
    starts_at: datetime
    first_image: int

    @property
    def encounter(self) -> str:
        return f"E{self.number:04d}"

    @property
    def light(self) -> Light:
        hour = self.starts_at.hour + self.starts_at.minute / 60
        if 7.0 <= hour < 17.0:
            return "day"
        return "dusk" if 5.5 <= hour < 19.0 else "infrared"


def schedule_events(plan: WorldPlan, rng: np.random.Generator) -> list[Event]:
    """All events, ordered by part, camera and time; 12 minutes or more lie between two."""
    visits = _visits(plan, rng)
    events: list[Event] = []
    for part in _PARTS:
        mine = [visit for visit in visits if visit.part == part]
        order = rng.permutation(len(mine))
        for index, camera in enumerate(_CAMERAS[part]):
            moment, image = _FIRST_DAY[part], 1
            for position in order[index :: len(_CAMERAS[part])]:
                moment = _next_moment(moment, rng)
                events.append(
                    Event(
                        number=len(events) + 1,
                        visit=mine[position],
                        camera=camera,
                        starts_at=moment,
                        first_image=image,
                    )
                )
                image += mine[position].num_frames
    return events


def _visits(plan: WorldPlan, rng: np.random.Generator) -> list[Visit]:
    num_train_frames = plan.num_train * plan.train_events * plan.burst_frames
    groups: list[tuple[Part, str, int, int]] = [
        ("train", "T", plan.num_train, plan.train_events),
        ("gallery", "K", plan.num_known, plan.gallery_events),
        ("inbox", "K", plan.num_known, plan.inbox_events),
        ("inbox", "S", plan.num_strangers, plan.stranger_events),
    ]
    visits = [visit for group in groups for visit in _group_visits(group, plan, rng)]
    blanks: list[tuple[Part, int]] = [
        ("train", round(0.05 * num_train_frames)),
        ("inbox", plan.num_blanks),
    ]
    for part, num_blanks in blanks:
        for start in range(0, num_blanks, plan.burst_frames):
            num_frames = min(plan.burst_frames, num_blanks - start)
            visits.append(Visit(part=part, identity="", flank="", num_frames=num_frames))
    return visits


def _group_visits(
    group: tuple[Part, str, int, int], plan: WorldPlan, rng: np.random.Generator
) -> list[Visit]:
    """Every individual is seen from the left and from the right in turn."""
    part, letter, num_individuals, num_events = group
    digits = 3 if letter == "T" else 2
    flanks: tuple[Flank, Flank] = ("left", "right")
    visits = []
    for number in range(1, num_individuals + 1):
        first = int(rng.integers(2))
        for turn in range(num_events):
            visits.append(
                Visit(
                    part=part,
                    identity=f"{letter}{number:0{digits}d}",
                    flank=flanks[(first + turn) % 2],
                    num_frames=plan.burst_frames,
                )
            )
    return visits


def _next_moment(moment: datetime, rng: np.random.Generator) -> datetime:
    """When the next animal passes, in whole milliseconds; they rest from 22 to 4 o'clock."""
    moment += timedelta(milliseconds=int(rng.integers(12 * 60_000, 150 * 60_000)))
    if 4 <= moment.hour < 22:
        return moment
    morning = moment.replace(hour=4, minute=0) + timedelta(days=1 if moment.hour >= 22 else 0)
    return morning + timedelta(minutes=int(rng.integers(0, 60)))
