"""What each guarantee of the device costs: milliseconds of processor time for one photo.

    python benchmarks/guarantees.py --out benchmarks/results/guarantees

Drawn photos of 12 megapixels go through `edge-watch --once` (MobileNetV3, random weights) in this
process, with a clock on the steps that the bare calls of the ceiling do not have; the steps of the
decoders are timed by decoding here, and their process as the difference between decoding in the
guarded pool and here. Processor time of the thread at work, which other programs disturb least.
Writes guarantees.json and prints a table.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import cv2
import machine
import typer
from machine import write_json
from photos import Photos, draw_small, make_photos
from speed_models import find_model, make_file

from edge import cli
from edge.decoding import crops, damage, decoder
from edge.decoding.decoder import Wanted
from edge.detect import WHOLE_FRAME_ANIMAL
from edge.identity import sightings
from edge.intake import inbox
from edge.watch import batch, recording

_POOL = """
import sys
from pathlib import Path
from edge.decoding.decoder import Wanted
from edge.decoding.guard import DecodePool
from edge.detect import WHOLE_FRAME_ANIMAL
from edge.preprocess import InputSpec
wanted = Wanted(spec={spec}, objects=(WHOLE_FRAME_ANIMAL,), look_side=None)
with DecodePool(1) as pool:
    for path in sys.argv[1:]:
        pool.submit(Path(path).read_bytes(), wanted).result()
"""
_IN_DECODERS = {
    "its header walked before a decoder sees it, and its EXIF": [
        (decoder, "read_header"),
        (decoder, "read_exif"),
    ],
    "looking for damage": [(damage, "of_blocks"), (decoder, "_structural_damage")],
    "its quality": [(crops, "measure")],
    "the copy kept for people": [(crops, "_for_people"), (crops, "_to_jpeg")],
}
_BOTH = "reading it, and its sha256"
_IN_THE_WATCH = {
    "reading it without trust": [(inbox, "read_whole")],
    _BOTH: [(batch, "_read")],
    "claiming it": [(batch, "_claim")],
    "its crop on the disk": [(recording, "write_crops")],
    "events and decisions": [(sightings, "join_events")],
    "the record, these included": [(batch, "record")],
}


class Clock:
    """Seconds of the calling thread in each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, stack: ExitStack, steps: dict[str, list[tuple[Any, str]]]) -> None:
        for step, functions in steps.items():
            for module, name in functions:
                timed = self._timed(step, getattr(module, name))
                stack.enter_context(mock.patch.object(module, name, timed))

    def _timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*words: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*words, **named)
            finally:
                spent = time.thread_time() - began
                self.seconds[step] = self.seconds.get(step, 0.0) + spent

        return timed


def main(
    out: Annotated[Path, typer.Option(help="Folder for photos, the model and the figures.")],
    photos: Annotated[int, typer.Option(min=8, help="Number of photos.")] = 128,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure, write, print."""
    if "OPENBLAS_NUM_THREADS" not in os.environ:  # as edge-watch has it, before numpy is loaded
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    cv2.setNumThreads(1)
    machine.adopt_orphans()
    taken = make_photos(out / f"photos-{photos}", 1, 72, photos)
    chosen = find_model("mobilenet")
    model = make_file(chosen, "fp32", out / "models")
    template = out / "state"
    if not template.is_dir():
        draw_small(out / "animals", 12, 4)
        words = ["enroll", out / "animals", "--model", model, "--state", template]
        machine.run([machine.script("edge-gallery"), *words])
    wanted = Wanted(spec=chosen.spec, objects=(WHOLE_FRAME_ANIMAL,), look_side=None)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for step, seconds in (
            _decoding(taken.paths, wanted) | _watching(taken, model, out)
        ).items():
            found.setdefault(step, []).append(1000 * seconds / photos)
    milliseconds = {step: statistics.median(one) for step, one in found.items()}
    write_json(out / "guarantees.json", {"machine": machine.describe(), "ms": milliseconds})
    print("| for one photo | ms of processor time |\n|---|---|")
    for step, one in milliseconds.items():
        print(f"| {step} | {one:.1f} |")


def _decoding(paths: list[Path], wanted: Wanted) -> dict[str, float]:
    """Seconds for all: the steps of decoding, decoding as a whole, and the guarded process."""
    clock = Clock()
    data = [path.read_bytes() for path in paths]
    with ExitStack() as stack:
        clock.watch(stack, _IN_DECODERS)
        for one in data:
            decoder.decode(one, wanted)
    began = time.process_time()
    for one in data:
        decoder.decode(one, wanted)
    here = time.process_time() - began
    few = len(data) // 8
    through = (
        (_pooled(paths, wanted) - _pooled(paths[:few], wanted)) * len(data) / (len(data) - few)
    )
    return {
        **clock.seconds,
        "decoding, all of these included": here,
        "a decoder in a process of its own": through - here,
    }


def _pooled(paths: list[Path], wanted: Wanted) -> float:
    """Seconds of all processes; the pool's own are only counted when their program has ended."""
    program = _POOL.format(spec=wanted.spec)
    return machine.run([sys.executable, "-c", program, *paths]).cpu_seconds


def _watching(taken: Photos, model: Path, out: Path) -> dict[str, float]:
    """Seconds for all of the steps of edge-watch in its main thread."""
    clock = Clock()
    state = out / "state-now"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(out / "state", state)
    words = ["edge-watch", taken.folder, "--once", "--model", model, "--state", state]
    with ExitStack() as stack:
        clock.watch(stack, _IN_THE_WATCH)
        stack.enter_context(mock.patch.object(sys, "argv", [str(one) for one in words]))
        stack.enter_context(redirect_stdout(io.StringIO()))
        try:
            cli.watch()
        except SystemExit as ended:
            if ended.code:
                raise
    shutil.rmtree(state)
    both = clock.seconds.pop(_BOTH)
    return {"its sha256": both - clock.seconds["reading it without trust"], **clock.seconds}


if __name__ == "__main__":
    typer.run(main)
