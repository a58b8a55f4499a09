"""The frames of a clip that are looked at, upright and sampled by time and by motion.

OpenCV gets a file in memory, never a name of the inbox; ffmpeg may take the bytes for the formats
of `edge.decoding.container` only. A clip's header lies (no frames, a thousand million frames,
no rate): times are counted, everything is bounded.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass

import cv2
import numpy as np

from edge.decoding.header import check_size
from edge.decoding.limits import FFMPEG_OPTIONS
from edge.decoding.liveliest import Liveliest
from edge.errors import MediaError
from edge.preprocess import Image

MAX_FRAMES = 64  # looked at
_BY_TIME = 32  # of these at most, in a clip whose length is known; the rest goes to what moves
_SECONDS_BETWEEN = 1.0
_SECONDS_BETWEEN_GLANCES = 0.25  # frames compared with each other for motion
_MAX_GLANCES = 400
_MAX_READ = 20_000  # frames gone through
_MAX_SECONDS = 60.0  # of work
_DEFAULT_RATE = 25.0  # frames a second where the header has no sensible rate


@dataclass(frozen=True, kw_only=True)
class Sample:
    frame_ms: int  # since the clip's start
    frame_number: int  # from 0
    image_HWC: Image


def _in_memory(data: bytes) -> int:
    """The bytes as a file without a name; its descriptor, to be closed by the caller."""
    if sys.platform != "linux":
        raise MediaError("type", "clips are decoded on Linux only")
    import resource

    descriptor = os.memfd_create("clip")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # A worker may write nothing but this, and only now.
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    except OSError as error:
        os.close(descriptor)
        raise MediaError("memory", error.strerror or str(error)) from error
    return descriptor


class Clip:
    """An open clip; what was found out is known after `samples` has run through."""

    def __init__(self, data: bytes) -> None:
        """Raises MediaError where ffmpeg cannot open it or its pictures are too large."""
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = FFMPEG_OPTIONS
        descriptor = _in_memory(data)
        try:
            # A name of our own making, that leads nowhere else. (OpenCV 5.0 can read a stream
            # instead, but then ended with a segmentation fault on 8 of 200 broken AVI files.)
            self._capture = cv2.VideoCapture(f"/proc/self/fd/{descriptor}", cv2.CAP_FFMPEG)
        except cv2.error as error:
            raise MediaError("undecodable", str(error.err)) from error
        finally:
            os.close(descriptor)  # ffmpeg has opened it anew
        if not self._capture.isOpened():
            raise MediaError("undecodable", "no video in this clip can be decoded")
        check_size(*(int(self._tell(one)) for one in _SIZE))
        rate = self._tell(cv2.CAP_PROP_FPS)
        self._rate = rate if 0.01 <= rate <= 1000 else _DEFAULT_RATE
        claimed = self._tell(cv2.CAP_PROP_FRAME_COUNT)
        self.num_claimed = int(claimed) if 1 <= claimed <= 10_000_000 else None
        self.num_frames = 0  # gone through
        self.size: tuple[int, int] | None = None  # width, height of the first that was decoded
        self.duration_seconds = 0.0
        self.ended = False  # by itself, not by our leaving off
        self.left_off = False  # for lack of time, though more was wanted

    def samples(self, numbers: Set[int] | None = None) -> Iterator[Sample]:
        """One frame a second, fewer of a long clip, then those between in which most moves.

        Never more than 64; both parts are in order. With `numbers` those very frames instead (and
        the clip's first is tried for its size).
        """
        deadline = time.monotonic() + _MAX_SECONDS
        lively = Liveliest(MAX_FRAMES) if numbers is None else None
        by_time = _Pace(self._between_ms(_SECONDS_BETWEEN, _BY_TIME))
        glances = _Pace(self._between_ms(_SECONDS_BETWEEN_GLANCES, _MAX_GLANCES))
        given = 0
        while self._capture.grab():
            frame_number = self.num_frames
            frame_ms = self._next_time()
            is_due = by_time.is_due(frame_ms) if lively else frame_number in (numbers or ())
            is_glance = lively is not None and (is_due or glances.is_due(frame_ms))
            image = self._retrieve() if is_due or is_glance or self.size is None else None
            if image is not None and lively and is_glance:
                glances.took(frame_ms)
                lively.see(frame_number, round(frame_ms), image, is_due)
            if image is not None and is_due:
                given += 1
                by_time.took(frame_ms)
                yield Sample(frame_ms=round(frame_ms), frame_number=frame_number, image_HWC=image)
            if given >= MAX_FRAMES:
                return
            if self.num_frames >= _MAX_READ or time.monotonic() > deadline:
                self.left_off = True
                break
        self.ended = not self.left_off
        for number, ms, image in lively.give(MAX_FRAMES - given) if lively else ():
            yield Sample(frame_ms=ms, frame_number=number, image_HWC=image)

    def _between_ms(self, seconds: float, most: int) -> float:
        """So that no more than so many fit into the clip, where its length is known."""
        if self.num_claimed is None:
            return 1000 * seconds
        return max(1000 * seconds, 1000 * self.num_claimed / self._rate / most)

    def close(self) -> None:
        self._capture.release()

    def _next_time(self) -> float:
        """Milliseconds of the frame just grabbed: the stream's where it goes on, else counted."""
        counted = 1000 * self.num_frames / self._rate
        told = self._tell(cv2.CAP_PROP_POS_MSEC)
        before = 1000 * self.duration_seconds
        steady = before - 1 <= told <= before + 600_000
        frame_ms = told if steady and (told > 0 or self.num_frames == 0) else max(counted, before)
        self.num_frames += 1
        self.duration_seconds = (frame_ms + 1000 / self._rate) / 1000
        return frame_ms

    def _retrieve(self) -> Image | None:
        done, image = self._capture.retrieve()
        if not done or image is None or image.ndim != 3 or image.dtype != np.uint8:
            return None
        check_size(image.shape[1], image.shape[0])
        self.size = self.size or (image.shape[1], image.shape[0])
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def _tell(self, what: int) -> float:
        value = float(self._capture.get(what))
        return value if math.isfinite(value) else 0.0


class _Pace:
    """Every so many milliseconds, at even times."""

    def __init__(self, between_ms: float) -> None:
        self._between_ms = between_ms
        self._next_ms = 0.0

    def is_due(self, frame_ms: float) -> bool:
        return frame_ms >= self._next_ms

    def took(self, frame_ms: float) -> None:
        self._next_ms = (frame_ms // self._between_ms + 1) * self._between_ms


_SIZE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
