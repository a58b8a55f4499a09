"""How many of a clip's sampled frames show the animal: by time and motion, and by time alone.

Drawn clips of a minute, ten frames a second, which an animal crosses in one to six seconds; in
every second one it stands still in between for five more. `detect.py` runs it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.decoding.clips import MAX_FRAMES, Clip
from trainer.animal import draw_coat
from trainer.scenery import draw_scene

_WIDTH, _HEIGHT, _RATE, _SECONDS = 320, 240, 10, 60
_ANIMAL = (80, 52)  # pixels
# Seen by eye: of this clip's 61 frames, a second apart, the first seven show an animal.
_REAL, _REAL_FRAMES = "EK000019.AVI", frozenset(range(7))

Frame = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class _Shares:
    """Frames with the animal, and frames, of one clip."""

    both: tuple[int, int]  # by time and motion
    time: tuple[int, int]


def show_clips(num: int, clips: Path) -> None:
    """Prints the figures of drawn clips, and of the real one whose frames were looked through."""
    drawn = [_shares(*_draw(seed)) for seed in range(num)]
    print(f"sampled frames with the animal, {num} drawn clips of {_SECONDS} s:")
    for name, pairs in (
        ("by time and motion", [one.both for one in drawn]),
        ("by time alone", [one.time for one in drawn]),
    ):
        hits, frames = (sum(pair[at] for pair in pairs) for at in (0, 1))
        missed = sum(pair[0] == 0 for pair in pairs)
        print(f"  {name:19} {hits} of {frames} = {100 * hits / frames:.0f} %, none in {missed}")
    if (clips / _REAL).is_file():
        one = _shares((clips / _REAL).read_bytes(), _REAL_FRAMES)
        print(f"  {_REAL}: {one.both[0]} of {one.both[1]}, by time alone "
              f"{one.time[0]} of {one.time[1]}")  # fmt: skip


def _shares(data: bytes, shown: frozenset[int]) -> _Shares:
    clip = Clip(data)
    numbers = [sample.frame_number for sample in clip.samples()]
    clip.close()
    step = max(1, round(clip.num_frames / max(clip.duration_seconds, 1.0)))
    by_time = list(range(0, clip.num_frames, step))[:MAX_FRAMES]
    return _Shares(both=_count(numbers, shown), time=_count(by_time, shown))


def _count(numbers: Sequence[int], shown: frozenset[int]) -> tuple[int, int]:
    return sum(one in shown for one in numbers), len(numbers)


def _draw(seed: int) -> tuple[bytes, frozenset[int]]:
    """An AVI of JPEGs and the numbers of the frames with the animal."""
    rng = np.random.default_rng(seed)
    back_HWC = draw_scene(rng, _HEIGHT, _WIDTH).base_HWC
    coat_HW = 60 + 140 * cv2.resize(draw_coat(rng).flank("left"), _ANIMAL)
    num = _RATE * _SECONDS
    crossing = int(_RATE * rng.uniform(1, 6))
    still = 5 * _RATE if seed % 2 else 0
    begin = int(rng.integers(0, num - crossing - still))
    top = int(rng.integers(_HEIGHT // 3, _HEIGHT - _ANIMAL[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.avi"
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), code, _RATE, (_WIDTH, _HEIGHT))
        for at in range(num):
            step = at - begin
            walked = min(step, crossing // 2) + max(0, step - crossing // 2 - still)
            image_HWC = back_HWC * rng.uniform(0.97, 1.03)
            if 0 <= step < crossing + still:
                left = int((_WIDTH - _ANIMAL[0]) * walked / crossing)
                image_HWC[top : top + _ANIMAL[1], left : left + _ANIMAL[0]] = coat_HW[:, :, None]
            image_HWC += rng.normal(0, 4, image_HWC.shape)
            writer.write(np.clip(image_HWC, 0, 255).astype(np.uint8))
        writer.release()
        return path.read_bytes(), frozenset(range(begin, begin + crossing + still))
