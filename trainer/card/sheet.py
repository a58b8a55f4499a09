"""crops.html: a contact sheet of what was found, so that a person can say whether it is right.

The surest way to waste a training run is a detector that takes stones for animals. One file that
asks for nothing outside itself; a few hundred small pictures, whatever the card holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import cv2
import numpy as np

from edge.detect import Box
from edge.errors import MediaError
from edge.media import decode, read_bytes
from edge.preprocess import Image, crop, fit_within
from edge.text import counted
from trainer.card.finders import MOTION
from trainer.card.table import Counts, CropRow, count, told
from trainer.checkpoint import write_atomically
from trainer.narrator import Narrator
from trainer.report.markup import missing, name, paragraph, text
from trainer.report.pictures import figure, strip

_NUM_USUAL, _NUM_DOUBTFUL, _NUM_SCENES = 56, 21, 9
_CROP_SIDE, _SCENE_SIDE = 240, 480  # pixels, the longest
_BOX_COLOUR = (255, 176, 0)
_UNFIT = {"small": "too small", "poor": "too poor"}


@dataclass(frozen=True, kw_only=True)
class _Section:
    heading: str
    about: str  # markup
    rows: list[CropRow]  # one a picture of the section
    whole: bool  # pictures are shown whole, with their boxes drawn


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """Where the pixels and boxes of a row are."""

    path_of: Mapping[str, Path]
    boxes_of: Mapping[str, Sequence[Box]]  # of the animals in a picture

    def figure(self, row: CropRow, whole: bool) -> str:
        boxes = self.boxes_of.get(row.path, ())
        caption = f"{name(row.path)}<br>{_words(row, len(boxes), whole)}"
        try:
            image_HWC = decode(read_bytes(self.path_of[row.path])).image_HWC
        except MediaError as error:  # gone or changed since it was searched
            return missing(f"{name(row.path)}: {text(str(error))}")
        if whole:
            shown_HWC = _with_boxes(fit_within(image_HWC, _SCENE_SIDE), boxes, image_HWC.shape[:2])
        else:
            shown_HWC = fit_within(crop(image_HWC, row.box), _CROP_SIDE)
        return figure(shown_HWC, row.path, caption, longest_side=max(shown_HWC.shape[:2]))


def write_sheet(
    sheet: Path,
    data: Path,
    detector: str,
    rows: Sequence[CropRow],
    path_of: Mapping[str, Path],
    narrator: Narrator,
) -> None:
    """Writes the page whole or not at all; only pictures that it shows are decoded."""
    sections = [one for one in _sections(rows) if one.rows]
    pictures = _Pictures(path_of=path_of, boxes_of=_boxes(rows))
    wanted = [(row, section.whole) for section in sections for row in section.rows]
    figures: list[str] = []
    with ThreadPoolExecutor() as pool:
        for shown in pool.map(lambda one: pictures.figure(*one), wanted):
            figures.append(shown)
            narrator.progress("making the contact sheet", len(figures), len(wanted))
    in_order = iter(figures)
    page = Template(_resource("trainer.card", "sheet.html")).substitute(
        title=text(f"Crops found in {data.absolute().name}"),
        style=_resource("trainer.report", "page.css"),
        findings=_findings(count(rows), detector),
        sections="\n".join(_markup(section, in_order) for section in sections),
    )
    write_atomically(sheet, page.encode())


def _sections(rows: Sequence[CropRow]) -> list[_Section]:
    """Nothing of a picture in which people were found."""
    with_people = {row.path for row in rows if row.observation_type == "human"}
    shown = [row for row in rows if row.path not in with_people]
    crops = [row for row in shown if row.is_crop]
    doubtful = crops if len(crops) > _NUM_USUAL else []  # else all are shown already
    unfit = [row for row in shown if row.observation_type == "animal" and row.left_out in _UNFIT]
    return [
        _Section(
            heading="What training will see",
            about="Crops at even steps through the card. Good: one animal in each, most of it in "
            "sight. Bad: grass, stones, shadows, people, two animals in one crop. A few bad ones "
            "do little harm. To train without them, copy crops.csv, delete their rows and give "
            "the copy to <code>--boxes</code> in place of <code>--detector</code>.",
            rows=_at_even_steps(crops, _NUM_USUAL),
            whole=False,
        ),
        _Section(
            heading="Least sure",
            about="The crops with the lowest confidence, where mistakes come first.",
            rows=sorted(doubtful, key=lambda row: row.confidence)[:_NUM_DOUBTFUL],
            whole=False,
        ),
        _Section(
            heading="Poorest pictures",
            about="The crops with the lowest quality that are still trained on: small, blurred, "
            "without contrast, or cut by the border.",
            rows=sorted(doubtful, key=lambda row: row.quality)[:_NUM_DOUBTFUL],
            whole=False,
        ),
        _Section(
            heading="Left out",
            about="Found, but too small or too poor to tell an animal by; the device would not "
            "name them either.",
            rows=_at_even_steps(unfit, _NUM_DOUBTFUL),
            whole=False,
        ),
        _Section(
            heading="Where the boxes lie",
            about="Whole pictures. Good: the box is close around the animal, and no animal is "
            "without one.",
            rows=_at_even_steps(_one_a_picture(crops), _NUM_SCENES),
            whole=True,
        ),
        _Section(
            heading="Taken for blanks",
            about="Whole pictures in which nothing was found. An animal here was missed; a few do "
            "no harm to training.",
            rows=_at_even_steps(
                [one for one in shown if one.observation_type == "blank"], _NUM_SCENES
            ),
            whole=True,
        ),
    ]


def _at_even_steps(rows: Sequence[CropRow], at_most: int) -> list[CropRow]:
    steps = np.linspace(0, len(rows) - 1, min(at_most, len(rows)))
    return [rows[round(step)] for step in steps]


def _one_a_picture(rows: Sequence[CropRow]) -> list[CropRow]:
    return list({row.path: row for row in rows}.values())


def _boxes(rows: Sequence[CropRow]) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = {}
    for row in rows:
        if row.observation_type == "animal" and row.box is not None:
            boxes.setdefault(row.path, []).append(row.box)
    return boxes


def _with_boxes(small_HWC: Image, boxes: Sequence[Box], full_size: tuple[int, int]) -> Image:
    """Drawn on a shrunk picture; `full_size` is (height, width)."""
    drawn_HWC = np.ascontiguousarray(small_HWC)
    height, width = small_HWC.shape[:2]
    for box in boxes:
        one = box.to_relative(full_size[1], full_size[0])
        corner = round(one.x * width), round(one.y * height)
        other = round((one.x + one.width) * width), round((one.y + one.height) * height)
        cv2.rectangle(drawn_HWC, corner, other, _BOX_COLOUR, 2)
    return drawn_HWC


def _words(row: CropRow, num_animals: int, whole: bool) -> str:
    if whole:
        return counted(num_animals, "box", "boxes") if num_animals else "blank"
    parts = [
        _UNFIT.get(row.left_out, ""),
        f"confidence {float(row.confidence):.2f}" if row.confidence else "",
        f"quality {float(row.quality):.2f}" if row.quality else "",
    ]
    return ", ".join(one for one in parts if one)


def _findings(counts: Counts, detector: str) -> str:
    found_by = "motion" if detector == MOTION else f"the detector {Path(detector).name}"
    lines = [
        f"{text(told(counts))}.",
        f"Found by {text(found_by)}. {counted(counts.num_crops, 'crop')} to train on.",
    ]
    trouble = ' class="trouble"' if not counts.num_crops else ""
    items = "\n".join(f"<li{trouble}>{line}</li>" for line in lines)
    return f'<ul class="findings">\n{items}\n</ul>'


def _markup(section: _Section, figures: Iterator[str]) -> str:
    """The section with as many of the figures as it has rows."""
    shown = [next(figures) for _ in section.rows]
    kind = ' class="scenes"' if section.whole else ""
    return (
        f"<section{kind}>\n<h2>{section.heading}</h2>\n{paragraph(section.about)}\n"
        f"{strip(section.heading, shown)}\n</section>"
    )


def _resource(package: str, file_name: str) -> str:
    return resources.files(package).joinpath(file_name).read_text(encoding="utf-8")
