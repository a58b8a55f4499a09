"""What one camera sees by one light when nothing is there, learned an event at a time.

Each pixel votes for what it mostly shows: a main value and a rival, each with its votes, so that
animals in the first pictures are outvoted. Does not cover finding anything (motion.py).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.detection.motion_features import Mask, Plane, Planes, difference, in_light_of
from edge.errors import StateError

_MAGIC, _VERSION = b"FMB", 1
_HEADER = struct.Struct("<3sBBHHHd")  # magic, version, planes, height, width, strangers, last event
_STEPS = np.array([0.012, 0.025, 0.006, 0.006], np.float32)  # of the stored numbers
_MIDDLES = np.array([0.0, 4.0, 0.0, 0.0], np.float32)  # a stored 0 means this
_VOTE = np.float32(8.0)  # stored units a vote
_MOST_VOTES = np.float32(20.0)
_YOUNG_VOTES = 4.0
_DOUBT = np.float32(0.25)  # votes for what an animal may have covered
_DECAY = np.float32(0.5)  # votes lost by an event that showed something else
_LEAST_SHARE = np.float32(0.1)  # of a new value: the light of the season is followed
_CALM_SHARE = np.float32(0.15)  # of one event in what is the usual difference
_FOUND_SHARE = 0.02  # likewise where it is large
_MOST_CALM, _MOST_CALM_FOUND = np.float32(12.0), np.float32(2.0)  # animals pass here every day
_CALM_STEP = np.float32(1024.0)  # stored units of usual difference
AGREES = 4.0  # a difference below this is the same thing


@dataclass(frozen=True, kw_only=True)
class Background:
    """The memory of one view; every array as it is stored, so that bytes give the same boxes."""

    main: NDArray[np.int8]  # [4, height, width]
    rival: NDArray[np.int8]
    votes_main: NDArray[np.uint8]  # [height, width], in eighths
    votes_rival: NDArray[np.uint8]
    calm: NDArray[np.uint16]  # usual difference, in 1/1024
    strangers: int  # events in a row that looked like another view
    last_at: float  # seconds since 1970 of the last picture, by the camera's clock

    def planes(self) -> Planes:
        return _widen(self.main)

    def is_known(self) -> Mask:
        """1 where an animal of the first event cannot have been mistaken for the background."""
        return np.asarray(self.votes_main >= _VOTE, np.uint8)

    def is_young(self) -> bool:
        """Whether it is of so few events that one more batch may show the place much better."""
        return float(self.votes_main.mean() / _VOTE) < _YOUNG_VOTES

    def unrest(self) -> Plane:
        """The difference to be expected of moving grass and leaves, 1 or more."""
        return np.asarray(np.maximum(self.calm / _CALM_STEP, np.float32(1.0)), np.float32)

    def to_bytes(self) -> bytes:
        head = _HEADER.pack(_MAGIC, _VERSION, *self.main.shape, self.strangers, self.last_at)
        parts = (self.main, self.rival, self.votes_main, self.votes_rival, self.calm)
        return head + zlib.compress(b"".join(part.tobytes() for part in parts), 6)

    @staticmethod
    def from_bytes(data: bytes) -> Background:
        """Raises StateError where the bytes are not such a memory."""
        try:
            magic, version, num, height, width, strangers, last_at = _HEADER.unpack_from(data)
            if (magic, version) != (_MAGIC, _VERSION):
                raise ValueError(f"it begins with {magic!r}, version {version}")
            raw = np.frombuffer(zlib.decompress(data[_HEADER.size :]), np.uint8)
            planes, rest = np.split(raw, [2 * num * height * width])
            main, rival = planes.view(np.int8).reshape(2, num, height, width)
            votes, rest = np.split(rest, [2 * height * width])
            votes_main, votes_rival = votes.reshape(2, height, width)
            calm = rest.view(np.uint16).reshape(height, width)
        except (struct.error, zlib.error, ValueError) as error:
            raise StateError(
                "damaged",
                f"a camera's background in the database cannot be read ({error}): delete the rows "
                "of motion_background, the cameras are learned anew",
            ) from error
        return Background(
            main=main,
            rival=rival,
            votes_main=votes_main,
            votes_rival=votes_rival,
            calm=calm,
            strangers=strangers,
            last_at=last_at,
        )


def start(seen: Planes, moving: Mask, at: datetime) -> Background:
    """The memory after a first event; `moving` is 1 where something may have stood before it."""
    votes = np.where(moving > 0, _DOUBT, np.float32(1.0))
    return Background(
        main=_narrow(seen),
        rival=np.zeros(seen.shape, np.int8),
        votes_main=_as_votes(votes),
        votes_rival=np.zeros(moving.shape, np.uint8),
        calm=np.full(moving.shape, _CALM_STEP, np.uint16),
        strangers=0,
        last_at=seconds(at),
    )


def learn(
    memory: Background, main: Planes, seen: Planes, apart: Plane, found: Mask, same_event: bool
) -> Background:
    """The memory after one more event, or after more of the same: then it gets no new rivals.

    `main` is the memory's main value unpacked, `seen` what the event showed, `apart` how far it
    is from the main value, `found` 1 where something was found: little is learned there.
    """
    seen = in_light_of(main, seen)
    votes, rival_votes = memory.votes_main / _VOTE, memory.votes_rival / _VOTE
    # Where there is no rival the main value stands in: `difference` looks at whole pictures.
    rival = np.where(rival_votes > 0, _widen(memory.rival), main)
    free = found == 0
    same = (apart < AGREES * memory.unrest()) & free
    open_ = ~same & (free | (votes < 1.0)) & (not same_event)
    like_rival = open_ & (rival_votes > 0) & (difference(seen, rival) < AGREES)
    fresh = open_ & ~like_rival
    vote = np.where(free, np.float32(1.0), _DOUBT)

    main = _blend(main, seen, np.maximum(1 / (votes + 1), _LEAST_SHARE), same)
    rival = _blend(rival, seen, np.maximum(vote / (rival_votes + vote), _LEAST_SHARE), like_rival)
    rival = np.where(fresh, seen, rival)
    votes = np.where(same, votes + 1, np.where(open_ & free, votes - _DECAY, votes))
    rival_votes = np.where(fresh, vote, np.where(like_rival, rival_votes + vote, rival_votes))
    wins = rival_votes > votes
    main, rival = np.where(wins, rival, main), np.where(wins, main, rival)
    votes, rival_votes = np.where(wins, rival_votes, votes), np.where(wins, votes, rival_votes)
    return replace(
        memory,
        main=_narrow(main),
        rival=_narrow(rival),
        votes_main=_as_votes(votes),
        votes_rival=_as_votes(rival_votes),
        calm=_calm(memory, apart, same, 0.0 if same_event else _FOUND_SHARE),
    )


def seconds(at: datetime) -> float:
    """Of the camera's own clock, whatever zone this machine is in."""
    return at.replace(tzinfo=at.tzinfo or timezone.utc).timestamp()


def _calm(
    memory: Background, apart: Plane, same: NDArray[np.bool_], other_share: float
) -> NDArray[np.uint16]:
    before = memory.calm / _CALM_STEP
    most = np.where(same, _MOST_CALM, _MOST_CALM_FOUND)
    now = cv2.blur(np.minimum(apart, most), (7, 7))
    share = np.where(same, _CALM_SHARE, np.float32(other_share))
    after = (before + share * (now - before)) * _CALM_STEP
    return np.asarray(np.rint(after), np.uint16)


def _blend(planes: Planes, seen: Planes, share: Plane, where: NDArray[np.bool_]) -> Planes:
    return planes + (seen - planes) * (share * where)


def _widen(stored: NDArray[np.int8]) -> Planes:
    return np.asarray(
        stored * _STEPS[: len(stored), None, None] + _MIDDLES[: len(stored), None, None], np.float32
    )


def _narrow(planes: Planes) -> NDArray[np.int8]:
    scaled = (planes - _MIDDLES[: len(planes), None, None]) / _STEPS[: len(planes), None, None]
    return np.asarray(np.clip(np.rint(scaled), -127, 127), np.int8)


def _as_votes(votes: Plane) -> NDArray[np.uint8]:
    kept = np.clip(votes, np.float32(0), _MOST_VOTES)
    return np.asarray(np.rint(kept * _VOTE), np.uint8)
