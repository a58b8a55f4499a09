"""Training and evaluation crops: every picture decoded once, at the encoder's size, as uint8."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.detect import Box, FoundObject
from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError, MediaError
from edge.media import decode, read_bytes
from edge.pictures import Collection, Picture
from edge.preprocess import Image, InputSpec, crop, resize
from trainer.cutting import cut_out

MAX_BYTES_IN_MEMORY = 4 * 2**30  # above it, crops live in a memory-mapped file
_READ_AHEAD = 64  # pictures decoded at once


@dataclass(frozen=True, kw_only=True)
class CropFact:
    """What is known of one crop beside its pixels."""

    picture: Picture
    box: Box | None  # relative to the picture; None: the whole of it
    sha256: str  # of the picture's bytes
    captured_at: datetime | None  # the table's date, else EXIF


@dataclass(frozen=True, kw_only=True)
class Crops:
    images_NHWC: NDArray[np.uint8]
    facts: tuple[CropFact, ...]
    skipped: tuple[tuple[str, str], ...]  # (picture, why it cannot be used)
    num_without_animal: int  # pictures in which the boxes file shows none
    num_unfit: int  # boxes of it that the device would not use either, or that show a person

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def digest(self) -> str:
        """sha256 over the sorted, distinct sha256 of the pictures."""
        distinct = sorted({fact.sha256 for fact in self.facts})
        return hashlib.sha256("".join(distinct).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    picture: Picture
    sha256: str
    captured_at: datetime | None
    parts: tuple[tuple[Box | None, Image], ...]
    num_unfit: int
    problem: str | None


# What is in a picture by a boxes file; None: no file, the picture's own box counts.
_Objects = Sequence[FoundObject] | None
Progress = Callable[[int, int], None]  # (done, total)


def load_crops(
    collection: Collection,
    spec: InputSpec,
    boxes: BoxesFile | None,
    cache_folder: Path | None = None,
    progress: Progress | None = None,
    max_bytes_in_memory: int = MAX_BYTES_IN_MEMORY,
) -> Crops:
    """The crops of a collection: its own boxes, those of a boxes file, or whole pictures.

    Boxes of a file are cut and judged as the device does it (trainer.cutting).
    Pictures that cannot be decoded are left out and told in `skipped`. Raises InputError when
    none is left.
    """
    if boxes is not None:
        boxes.fit(picture.name for picture in collection.pictures)
    wanted = [_objects_in(picture, boxes) for picture in collection.pictures]
    at_most = [_num_animals(objects) for objects in wanted]
    images = _allocate(sum(at_most), spec, cache_folder, max_bytes_in_memory)
    facts: list[CropFact] = []
    num_unfit = 0
    skipped: list[tuple[str, str]] = []
    for done, one in enumerate(_decode_all(collection.pictures, wanted, spec), start=1):
        if one.problem is not None:
            skipped.append((one.picture.name, one.problem))
        num_unfit += one.num_unfit
        for box, image in one.parts:
            images[len(facts)] = image
            facts.append(
                CropFact(
                    picture=one.picture, box=box, sha256=one.sha256, captured_at=one.captured_at
                )
            )
        if progress:
            progress(done, len(wanted))
    if not facts:
        raise InputError(_no_crops(collection, skipped, num_unfit))
    return Crops(
        images_NHWC=images[: len(facts)],
        facts=tuple(facts),
        skipped=tuple(skipped),
        num_without_animal=at_most.count(0),
        num_unfit=num_unfit,
    )


def _no_crops(collection: Collection, skipped: list[tuple[str, str]], num_unfit: int) -> str:
    first = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
    return (
        f"none of the {len(collection.pictures)} pictures in {collection.root} gives a crop: "
        f"{len(skipped)} cannot be decoded{first}; {num_unfit} boxes are too small or too poor, or "
        "show a person; with --boxes, check that its paths are relative to this folder"
    )


def _objects_in(picture: Picture, boxes: BoxesFile | None) -> _Objects:
    return None if boxes is None else (boxes.find(picture.name) or ())


def _num_animals(objects: _Objects) -> int:
    if objects is None:
        return 1
    return sum(one.observation_type == "animal" for one in objects)


def _allocate(
    total: int, spec: InputSpec, cache_folder: Path | None, max_bytes: int
) -> NDArray[np.uint8]:
    """In memory, or above a size in a nameless file that goes away with the process."""
    shape = (total, spec.height, spec.width, 3)
    if cache_folder is None or int(np.prod(shape, dtype=np.int64)) <= max_bytes:
        return np.empty(shape, np.uint8)
    cache_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache_folder) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _decode_all(
    pictures: tuple[Picture, ...], wanted: list[_Objects], spec: InputSpec
) -> Iterator[_Decoded]:
    """In order; a bounded number of pictures is in memory at once."""
    pairs = iter(zip(pictures, wanted, strict=True))
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(pairs, _READ_AHEAD)):
            yield from pool.map(partial(_decode_one, spec), *zip(*chunk, strict=True))


def _decode_one(spec: InputSpec, picture: Picture, objects: _Objects) -> _Decoded:
    parts: tuple[tuple[Box | None, Image], ...] = ()
    sha256, captured_at, problem, num_unfit = "", picture.captured_at, None, 0
    if _num_animals(objects):
        try:
            data = read_bytes(picture.path)
            sha256 = hashlib.sha256(data).hexdigest()
            frame = decode(data)
            captured_at = picture.captured_at or frame.captured_at
            parts, num_unfit = _parts(frame.image_HWC, picture, objects, spec)
        except MediaError as error:
            problem = str(error)
    return _Decoded(
        picture=picture,
        sha256=sha256,
        captured_at=captured_at,
        parts=parts,
        num_unfit=num_unfit,
        problem=problem,
    )


def _parts(
    image_HWC: Image, picture: Picture, objects: _Objects, spec: InputSpec
) -> tuple[tuple[tuple[Box | None, Image], ...], int]:
    """(box, pixels) of each crop, and how many boxes are unfit for one."""
    if objects is None:
        height, width = image_HWC.shape[:2]
        box = picture.box.to_relative(width, height) if picture.box else None
        return ((box, resize(crop(image_HWC, box), spec)),), 0
    pieces = cut_out(image_HWC, objects, spec)
    fit = [one for one in pieces if one.unfit is None]
    return tuple((one.box, one.cut.encoder_HWC) for one in fit), len(pieces) - len(fit)
