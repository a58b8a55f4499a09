"""Boxes that something else found, looked up by a picture's path in its folder.

Any file of box_formats.py. Names in it may be absolute, of this computer or another: the
folder they share with the pictures at hand is found by `fit`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from edge.detect import FoundObject
from edge.detection.box_formats import read_entries
from edge.errors import InputError
from edge.text import printable

MAX_FRAMES = 60  # of a clip that are cut out
_MAX_FITTED = 200  # pictures whose names are compared to find the folder
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")


class BoxesFile:
    """What the file says of each picture or clip; None: its detector failed there."""

    def __init__(self, path: Path, min_confidence: float = 0.2) -> None:
        """Raises InputError when the file is of no known kind or an entry cannot be read."""
        self.path = path
        self._objects: dict[str, list[FoundObject] | None] = {}
        self._root = ""  # before each of the pictures' paths
        self._seen: set[str] = set()
        for entry in read_entries(path):
            found = None if entry.objects is None else _sure(entry.objects, min_confidence)
            if found and any(one.frame_number is not None for one in found):
                found = _thinned(found, entry.frame_rate)
            self._objects[_tidy(entry.file)] = found

    def __len__(self) -> int:
        return len(self._objects)

    def fit(self, relative_paths: Iterable[str]) -> None:
        """Finds where these pictures lie, for a file with absolute names; else does nothing.

        Raises InputError where two folders of the file fit as well.
        """
        absolute = [name for name in self._objects if _ABSOLUTE.match(name)]
        if not absolute:
            return
        of_name: dict[str, list[str]] = {}
        for name in absolute:
            of_name.setdefault(name.rpartition("/")[2], []).append(name)
        roots: Counter[str] = Counter()
        for path in islice(relative_paths, _MAX_FITTED):
            tail = "/" + _tidy(path)
            same = of_name.get(tail.rpartition("/")[2], [])
            roots.update(name[: 1 - len(tail)] for name in same if name.endswith(tail))
        best = roots.most_common(2)
        if len(best) == 2 and best[0][1] == best[1][1]:
            raise InputError(
                f"the names in the boxes file {self.path} fit these pictures in two ways, below "
                f"{printable(best[0][0])} and below {printable(best[1][0])}: run the detector on "
                "this folder with relative file names"
            )
        if best:
            self._root = best[0][0]

    def lists(self, relative_path: str) -> bool:
        """Whether the file names the picture, with or without success."""
        return self._key(relative_path) in self._objects

    def see(self, relative_path: str) -> None:
        """The picture is there."""
        self._seen.add(self._key(relative_path))

    @property
    def num_unseen(self) -> int:
        """Pictures the file names that are not there."""
        return len(self._objects.keys() - self._seen)

    @property
    def example(self) -> str | None:
        """A name as the file writes it; None where it names no picture."""
        return next(iter(self._objects), None)

    def find(self, relative_path: str) -> list[FoundObject] | None:
        """What is in the picture: a list (empty for a blank).

        None where the file lacks the picture, or says that the detector failed on it. In a clip
        an object may have the number of its frame.
        """
        return self._objects.get(self._key(relative_path))

    def _key(self, relative_path: str) -> str:
        return self._root + _tidy(relative_path)


def _tidy(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _sure(objects: Sequence[FoundObject], min_confidence: float) -> list[FoundObject]:
    """Boxes that people drew have no confidence, and stay."""
    return [one for one in objects if one.confidence is None or one.confidence >= min_confidence]


def _thinned(objects: Sequence[FoundObject], frame_rate: float | None) -> list[FoundObject]:
    """The surest frame of each second and of each type of object, at most MAX_FRAMES and a few.

    A detector may have seen every frame of a clip; nobody is told better by 30 of one second.
    """
    best: dict[tuple[object, int], FoundObject] = {}
    surest: dict[object, FoundObject] = {}
    for one in objects:
        kind = one.observation_type
        second = int((one.frame_number or 0) / (frame_rate or 1.0))
        best[kind, second] = _surer(best.get((kind, second)), one)
        surest[kind] = _surer(surest.get(kind), one)
    frames = sorted({one.frame_number or 0 for one in best.values()})
    step = -(-len(frames) // MAX_FRAMES)
    chosen = {*frames[::step], *(one.frame_number or 0 for one in surest.values())}
    return [one for one in objects if (one.frame_number or 0) in chosen]


def _surer(one: FoundObject | None, other: FoundObject) -> FoundObject:
    if one is None or (other.confidence or 0.0) > (one.confidence or 0.0):
        return other
    return one
