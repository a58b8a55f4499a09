"""Files with boxes in them, told apart by their content and read entry by entry.

MegaDetector batch JSON 1.x (also as AddaxAI, and PyTorch-Wildlife for Timelapse, write it),
SpeciesNet predictions, PyTorch-Wildlife annotations, COCO Camera Traps, and a CSV with `path` and
`bbox` as wildlife-datasets has it, where `observation_type` may say that a row is no animal. Does
not judge what is sure enough (boxes_file.py).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from edge.detect import WHOLE_FRAME, Box, FoundObject, ObservationType, box_of
from edge.errors import InputError
from edge.text import printable

_ADVICE = (
    "give a MegaDetector batch JSON (it has a list named 'images'), SpeciesNet's predictions, "
    "PyTorch-Wildlife's or COCO Camera Traps annotations, or a CSV with the columns path and bbox"
)
_MEGADETECTOR_NEEDS = (
    "each needs file and detections, and each detection category, conf and bbox "
    "[x, y, width, height] in fractions of the picture; run the detector again"
)
_PEOPLE = frozenset({"person", "human", "people", "homo sapiens", "man", "woman", "child"})
_VEHICLES = frozenset(
    {"vehicle", "car", "truck", "bus", "motorcycle", "motorbike", "bicycle", "bike", "boat"}
)
_NOTHING = frozenset({"empty", "blank", "nothing", "none", "false trigger"})
_UNSURE = frozenset({"", "unknown", "unidentified", "unclassified", "other", "object"})


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a file says of one picture or clip."""

    file: str
    objects: tuple[FoundObject, ...] | None  # empty: a blank; None: the detector failed
    frame_rate: float | None = None  # of a clip, frames a second


def read_entries(path: Path) -> list[Entry]:
    """Raises InputError naming the entry that cannot be read, or what the file should be."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the boxes file {path}: {error.strerror}; {_ADVICE}"
        ) from error
    table = data.decode("utf-8-sig", "surrogateescape")  # a picture's name need not be UTF-8
    head = table.partition("\n")[0]
    if "path" in head and "bbox" in head and not table.lstrip().startswith(("{", "[")):
        return _read_csv(path, table)
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is neither JSON nor CSV ({error}); {_ADVICE}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); {_ADVICE}") from error
    return _read_json(path, content)


def type_of(name: str) -> ObservationType | None:
    """The Camtrap DP type of a category's name; None for one that says that nothing is there.

    A name that is none of people's and vehicles' is a species; a bare number says nothing.
    """
    name = name.strip().lower()
    if name in _PEOPLE:
        return "human"
    if name in _VEHICLES:
        return "vehicle"
    if name in _NOTHING:
        return None
    return "unclassified" if name in _UNSURE or name.isdigit() else "animal"


def _read_json(path: Path, content: Any) -> list[Entry]:
    if isinstance(content, dict):
        categories = content.get("detection_categories") or {}
        if not isinstance(categories, dict):
            raise InputError(f"{path}: 'detection_categories' is not an object; {_ADVICE}")
        if isinstance(content.get("predictions"), list):
            return _each(path, content, "predictions", lambda one: _of_speciesnet(one), "")
        has_images = isinstance(content.get("images"), list)
        if has_images and isinstance(content.get("annotations"), list):
            return list(_read_coco(path, content))
        if has_images:
            return _each(
                path,
                content,
                "images",
                lambda one: _of_megadetector(one, categories),
                _MEGADETECTOR_NEEDS,
            )
        if isinstance(content.get("annotations"), list):
            names = _named(content.get("categories"))
            return _each(path, content, "annotations", lambda one: _of_wildlife(one, names), "")
    raise InputError(f"{path} has no list named 'images'; {_ADVICE}")


def _each(
    path: Path, content: Mapping[str, Any], key: str, read: Callable[[Any], Entry], needs: str
) -> list[Entry]:
    entries = []
    for number, one in enumerate(content[key], start=1):
        try:
            entries.append(read(one))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            what = f"entry {number} of '{key}'{_name_of(one)}"
            raise _unreadable(path, what, error, needs) from error
    return entries


def _unreadable(path: Path, what: str, error: Exception, needs: str) -> InputError:
    needs = needs or "write the file again with the program it comes from"
    return InputError(f"{path}: {what} cannot be read ({error!r}): {needs}")


def _name_of(entry: object) -> str:
    """For a sentence: the entry's file, where it tells one."""
    if isinstance(entry, dict):
        for key in ("file", "filepath", "file_name", "img_id"):
            if isinstance(entry.get(key), str):
                return f" ({printable(entry[key])})"
    return ""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"file is {value!r}")
    return value


def _named(categories: Any) -> dict[str, str]:
    """Names by id, of an object {id: name} or a list of {id, name}."""
    if isinstance(categories, dict):
        return {str(key): str(name) for key, name in categories.items()}
    return {str(one["id"]): str(one["name"]) for one in categories or ()}


def _found(box: Box, name: str, confidence: Any, frame_number: Any = None) -> list[FoundObject]:
    """None or one object."""
    kind = type_of(name)
    if kind is None:
        return []
    sure = None if confidence is None else float(confidence)
    if sure is not None and not math.isfinite(sure):
        raise ValueError(f"conf is {confidence}")
    number = None if frame_number is None else int(frame_number)
    return [FoundObject(box=box, observation_type=kind, confidence=sure, frame_number=number)]


def _of_megadetector(entry: Any, categories: Mapping[str, Any]) -> Entry:
    file, detections = _text(entry["file"]), entry.get("detections")
    if entry.get("failure") or detections is None:
        return Entry(file=file, objects=None)
    if not isinstance(detections, list):
        raise TypeError("detections is not a list")
    objects: list[FoundObject] = []
    for one in detections:
        key = str(one["category"])
        box = box_of(one["bbox"], relative=True)
        name = str(categories.get(key, key))
        objects += _found(box, name, float(one["conf"]), one.get("frame_number"))
    rate = entry.get("frame_rate")
    rate = None if rate is None else float(rate)
    return Entry(file=file, objects=tuple(objects), frame_rate=rate)


def _of_speciesnet(entry: Any) -> Entry:
    file, detections = _text(entry["filepath"]), entry.get("detections")
    if "DETECTOR" in (entry.get("failures") or ()) or detections is None:
        return Entry(file=file, objects=None)
    objects: list[FoundObject] = []
    for one in detections:
        box = box_of(one["bbox"], relative=True)
        objects += _found(box, str(one["label"]), float(one["conf"]))
    return Entry(file=file, objects=tuple(objects))


def _of_wildlife(entry: Any, names: Mapping[str, str]) -> Entry:
    """Corners in pixels, with the categories and confidences in lists beside them."""
    objects: list[FoundObject] = []
    for corners, category, confidence in zip(
        entry["bbox"], entry["category"], entry["confidence"], strict=True
    ):
        left, top, right, bottom = (float(one) for one in corners)
        box = box_of((left, top, right - left, bottom - top), relative=False)
        objects += _found(box, names.get(str(category), str(category)), float(confidence))
    return Entry(file=_text(entry["img_id"]), objects=tuple(objects))


def _read_coco(path: Path, content: Mapping[str, Any]) -> Iterator[Entry]:
    """An image without annotations was not looked at; a label without a box is the whole frame.

    Pixels are those of the sizes it tells, for the pictures may be smaller copies.
    """
    objects: dict[str, list[FoundObject]] = {}
    names = _named(content.get("categories"))
    sizes = _sizes(content["images"])
    for number, one in enumerate(content["annotations"], start=1):
        try:
            bbox = one.get("bbox")
            box = WHOLE_FRAME if bbox is None else box_of(bbox, relative=False)
            name, size = names[str(one["category_id"])], sizes.get(str(one["image_id"]))
            box = box if size is None else box.to_relative(*size)
            objects.setdefault(str(one["image_id"]), []).extend(_found(box, name, one.get("score")))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise _unreadable(
                path,
                f"entry {number} of 'annotations'",
                error,
                "each needs image_id, a category_id of 'categories' and, where it is a box, bbox "
                "[x, y, width, height] in pixels",
            ) from error
    for number, one in enumerate(content["images"], start=1):
        try:
            file, seen = _text(one["file_name"]), objects.get(str(one["id"]))
        except (KeyError, TypeError, AttributeError) as error:
            what = f"entry {number} of 'images'{_name_of(one)}"
            raise _unreadable(path, what, error, "each needs id and file_name") from error
        yield Entry(file=file, objects=None if seen is None else tuple(seen))


def _sizes(images: Sequence[Any]) -> dict[str, tuple[int, int]]:
    sides = ((one, one.get("width"), one.get("height")) for one in images if isinstance(one, dict))
    return {
        str(one.get("id")): (width, height)
        for one, width, height in sides
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
    }


def _read_csv(path: Path, text: str) -> list[Entry]:
    """A row a box, [x, y, width, height] in pixels; an empty one is the whole picture.

    A row of the type "blank" says that nothing is there, "unclassified" that nobody knows.
    """
    objects: dict[str, list[FoundObject]] = {}
    unknown: set[str] = set()
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        try:
            file = _text(row["path"])
            found = _of_row(row["bbox"] or "", row.get("observation_type") or "animal")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _unreadable(
                path,
                f"line {reader.line_num}",
                error,
                "each needs path and bbox [x, y, width, height] in pixels, and an "
                f"observation_type, where there is one, of {', '.join(get_args(ObservationType))}",
            ) from error
        objects.setdefault(file, []).extend(found or ())
        if found is None:
            unknown.add(file)
    return [
        Entry(file=file, objects=None if file in unknown and not found else tuple(found))
        for file, found in objects.items()
    ]


def _of_row(bbox: str, kind: str) -> list[FoundObject] | None:
    """None or one object; None where it is not known."""
    if kind not in get_args(ObservationType):
        raise ValueError(f"observation_type is {kind!r}")
    if kind == "blank":
        return []
    box, is_whole = WHOLE_FRAME, bbox.strip().lower() in ("", "none", "nan")
    if is_whole and kind == "unclassified":
        return None
    if not is_whole:
        box = box_of(bbox.strip().strip("[]()").replace(",", " ").split(), relative=False)
    return [FoundObject(box=box, observation_type=cast(ObservationType, kind), confidence=None)]
