"""Every picture of a card searched for animals, once: what `fancl-train --detector` does first.

Leaves crops.csv and crops.html in the run directory. A stop loses some seconds of work at most,
and nobody who starts again searches again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.pictures import Picture, read_collection
from edge.text import counted
from trainer.card import record
from trainer.card.finders import MOTION, Finder, SmallPicture, open_finder
from trainer.card.looks import Look, look_at, rows_of
from trainer.card.order import AT_ONCE, Batch, as_they_come, by_time
from trainer.card.record import Unfinished
from trainer.card.sheet import write_sheet
from trainer.card.table import Counts, CropRow, count, read_table, told
from trainer.narrator import Narrator

_SAVE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A boxes file in the run directory, and what it was made with."""

    table: Path
    detector: dict[str, Any]


def search_card(
    run: Path, data: Path, detector: str, narrator: Narrator, at_once: int = AT_ONCE
) -> Searched:
    """The crops of every picture of the data, whatever split it is of; those of an earlier start.

    Raises InputError where no animal is found, or the folder holds another search; ConfigError
    or ModelError where the detector does not work.
    """
    record.refuse_run_without(run)
    collection = read_collection(data)
    pictures = _each_once(collection.pictures, data)
    finder = open_finder(detector, record.memory_of(run))
    asked = record.asked_for(pictures, finder.asked)
    if collection.num_clips:
        clips = counted(collection.num_clips, "clip")
        narrator.say(f"{clips} in {data} not used: training takes pictures only")
    if record.is_finished(run, asked):
        narrator.say(f"using the crops in {run / record.CROPS}, found before")
    else:
        run.mkdir(parents=True, exist_ok=True)
        batches = _batches(pictures, finder, at_once, narrator)
        rows = _search(run, batches, finder, asked, narrator)
        place = {picture.name: at for at, picture in enumerate(pictures)}
        rows.sort(key=lambda row: place[row.path])
        record.finish(run, asked, rows)
    rows = read_table(run / record.CROPS)
    counts = count(rows)
    narrator.say(told(counts))
    sheet = run / record.SHEET
    if not sheet.is_file():
        write_sheet(sheet, data, detector, rows, {one.name: one.path for one in pictures}, narrator)
    if not counts.num_crops:
        raise InputError(nothing_found(data, detector, counts, sheet))
    narrator.say(f"look at {sheet}: are these the animals?")
    return Searched(table=run / record.CROPS, detector=finder.asked)


def _each_once(pictures: Sequence[Picture], data: Path) -> list[Picture]:
    if any(one.box is not None for one in pictures):
        raise InputError(
            f"{data} names boxes itself (its column bbox): leave --detector away to train on "
            "these, or empty the column"
        )
    return list({one.name: one for one in pictures}.values())


def _search(
    run: Path,
    batches: Sequence[Batch],
    finder: Finder,
    asked: dict[str, Any],
    narrator: Narrator,
) -> list[CropRow]:
    so_far = record.load_unfinished(run, asked)
    rows, done = list(so_far.rows), so_far.num_batches
    num_pictures = sum(len(batch.pictures) for batch in batches)
    num_done = sum(len(batch.pictures) for batch in batches[:done])
    if done:
        narrator.say(f"going on with the search after {counted(num_done, 'picture')}")

    def save() -> None:
        state = Unfinished(num_batches=done, rows=rows, memory=finder.memory())
        record.save_unfinished(run, asked, state)

    saved_at = time.monotonic()
    try:
        for found in _find(batches[done:], finder):
            rows += found
            num_done += len(batches[done].pictures)
            done += 1
            note = f"{counted(sum(row.is_crop for row in rows), 'crop')} so far"
            if time.monotonic() - saved_at > _SAVE_SECONDS:
                save()
                saved_at = time.monotonic()
            narrator.progress("looking for animals", num_done, num_pictures, note)
    except BaseException:  # Ctrl-C above all: the batches that are done count
        save()
        raise
    return rows


def _batches(
    pictures: Sequence[Picture], finder: Finder, at_once: int, narrator: Narrator
) -> list[Batch]:
    if not finder.needs_times:
        return as_they_come(pictures, at_once)
    batches, num_untimed = by_time(pictures, at_once, partial(narrator.progress, "reading times"))
    if num_untimed:
        narrator.say(
            f"{num_untimed} of {counted(len(pictures), 'picture')} do not say when they were "
            "taken: the times of their files count"
        )
    return batches


def _find(batches: Sequence[Batch], finder: Finder) -> Iterator[list[CropRow]]:
    """The rows of each batch."""
    with ThreadPoolExecutor() as pool:
        for batch in batches:
            looks = list(pool.map(partial(look_at, side=finder.look_side), batch.pictures))
            objects = iter(_objects(batch, looks, finder))
            found = [None if one.problem else next(objects) for one in looks]
            bare = [dataclasses.replace(one, image_HWC=None) for one in looks]
            yield [row for rows in pool.map(rows_of, bare, found) for row in rows]


def _objects(batch: Batch, looks: Sequence[Look], finder: Finder) -> list[Any]:
    """What is in the pictures that could be decoded."""
    small = [
        SmallPicture(captured_at=when, image_HWC=look.image_HWC)
        for look, when in zip(looks, batch.times, strict=True)
        if look.image_HWC is not None
    ]
    return list(finder.find_all(batch.camera, small)) if small else []


def nothing_found(data: Path, detector: str, counts: Counts, sheet: Path) -> str:
    if detector == MOTION:
        other = (
            "motion needs several pictures of each camera, by times and first-level folders; a "
            "detector file (--detector FILE.onnx) needs neither"
        )
    else:
        settings = Path(detector).with_suffix(".json")
        other = (
            f"in {settings} lower min_confidence, or name more classes under animals; "
            "`edge-admin detector check` shows its boxes on a picture; or try --detector motion"
        )
    return (
        f"there is nothing to train on in {data}: {told(counts)}. {sheet} shows some of them. "
        f"Where animals were missed: {other}. Where the animals fill the pictures, leave "
        "--detector away"
    )
