"""In which order the pictures of a card are searched, and which of them together.

As on the device: a first-level folder is a camera; motion wants the pictures of a camera in order
of time, those of one event together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from edge.decoding.exif import read_exif
from edge.decoding.header import read_header
from edge.errors import MediaError
from edge.events import group_by_gap
from edge.media import MAX_BYTES
from edge.pictures import Picture

AT_ONCE = 32  # pictures, as on the device
_HEAD_BYTES = 256 * 1024  # in which a JPEG's EXIF block lies


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pictures of one camera."""

    camera: str  # empty: the folder itself
    pictures: tuple[Picture, ...]
    times: tuple[datetime, ...]  # by the data, the camera, or else the file


def camera_of(picture: Picture) -> str:
    folder, _, rest = picture.name.replace("\\", "/").removeprefix("./").partition("/")
    return folder if rest else ""


def as_they_come(pictures: Sequence[Picture], at_once: int) -> list[Batch]:
    """For a finder that sees each picture by itself; nobody asks for times."""
    return [
        Batch(camera="", pictures=part, times=(datetime.min,) * len(part))
        for part in _parts(pictures, at_once)
    ]


def by_time(
    pictures: Sequence[Picture], at_once: int, progress: Callable[[int, int], None]
) -> tuple[list[Batch], int]:
    """Batches of each camera in order of time, and how many pictures have only their file's."""
    times: list[datetime | None] = []
    with ThreadPoolExecutor() as pool:
        for done, moment in enumerate(pool.map(_moment, pictures), start=1):
            times.append(moment)
            progress(done, len(pictures))
    cameras: dict[str, list[tuple[datetime, Picture]]] = {}
    for picture, moment in zip(pictures, times, strict=True):
        cameras.setdefault(camera_of(picture), []).append((moment or _of_file(picture), picture))
    batches = [
        Batch(
            camera=camera,
            pictures=tuple(timed[at][1] for at in together),
            times=tuple(timed[at][0] for at in together),
        )
        for camera, timed in cameras.items()
        for together in _whole_events([when for when, _ in timed], at_once)
    ]
    return batches, times.count(None)


def _parts(pictures: Sequence[Picture], at_once: int) -> list[tuple[Picture, ...]]:
    starts = [*range(0, len(pictures), at_once), len(pictures)]
    return [tuple(pictures[start:end]) for start, end in pairwise(starts)]


def _whole_events(times: Sequence[datetime], at_once: int) -> list[list[int]]:
    """Positions, in order of time; an event is cut only where it is longer than a batch."""
    batches: list[list[int]] = [[]]
    for event in group_by_gap(times):
        if len(batches[-1]) + len(event) > at_once:
            batches.append([])
        for at in event:
            if len(batches[-1]) == at_once:
                batches.append([])
            batches[-1].append(at)
    return [batch for batch in batches if batch]


def _moment(picture: Picture) -> datetime | None:
    """None where neither the data nor the picture says when it was taken."""
    if picture.captured_at is not None:
        return picture.captured_at
    for most in (_HEAD_BYTES, MAX_BYTES):
        try:
            with picture.path.open("rb") as file:
                header = read_header(file.read(most))
        except (OSError, MediaError):  # what is wrong is told when its pixels are read
            continue
        return read_exif(header.exif).facts.captured_at
    return None


def _of_file(picture: Picture) -> datetime:
    return datetime.fromtimestamp(picture.path.stat().st_mtime)
