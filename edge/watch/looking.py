"""What is in each frame of a medium, and its pixels: decoding in one pass or in two.

With boxes from a file, or none, one pass cuts out what is wanted. A finder needs a first pass that
gives small whole pictures; only media in which it found something to cut out are decoded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edge.decoding.decoder import Decoded, View, Wanted
from edge.detect import WHOLE_FRAME_ANIMAL, FoundObject
from edge.detection.boxes_file import BoxesFile
from edge.errors import MediaError
from edge.intake.inbox import FoundFile
from edge.watch.bursts import cut_off
from edge.watch.finder import Finder
from edge.watch.pipeline import Medium, Pipeline
from edge.watch.recording import Learned, Refused

_TICK_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """A medium on its way through the decoders."""

    medium: Medium
    wanted: Wanted
    looked: bool  # somebody looked, or will look, for what is in it
    future: Future[Decoded]


@dataclass(frozen=True, kw_only=True)
class Looked:
    learned: list[Learned]
    refused: list[Refused]
    held: list[Learned]  # not searched yet: the next batch brings the rest of their burst


def begin_looking(pipeline: Pipeline, medium: Medium) -> Awaited:
    """Submits the first pass, which is the only one where no finder is used."""
    finder = pipeline.finder
    objects: tuple[FoundObject, ...] | None
    of_frames: Mapping[int, tuple[FoundObject, ...]] | None = None
    if finder is not None:
        objects = None
    elif pipeline.boxes is None:
        objects = (WHOLE_FRAME_ANIMAL,)
    else:
        objects = _objects_in(pipeline.boxes, medium.files)
        if objects is not None and any(one.frame_number is not None for one in objects):
            of_frames, objects = _by_frame(objects), ()
    wanted = Wanted(
        spec=pipeline.encoder.manifest.input,
        objects=objects,
        look_side=None if finder is None else finder.look_side,
        of_frames=of_frames,
        people=pipeline.people,
    )
    return Awaited(
        medium=medium,
        wanted=wanted,
        looked=finder is not None or objects is not None,
        future=pipeline.decoders.submit(medium.data, wanted),
    )


def finish_looking(
    pipeline: Pipeline,
    awaited: Sequence[Awaited],
    held: Sequence[Learned] = (),
    goes_on: str | None = None,
) -> Looked:
    """Waits for the pixels; raises ModelError where the detector does not work.

    `held` is what the batch before held back, `goes_on` the camera that the next one begins with.
    """
    with pipeline.health.timed("decode"):
        _wait(pipeline, [one.future for one in awaited])
    looked = Looked(learned=list(held), refused=[], held=[])
    for one in awaited:
        try:
            decoded = one.future.result()
        except MediaError as error:
            looked.refused.append(Refused(medium=one.medium, error=error))
            continue
        looked.learned.append(Learned(medium=one.medium, decoded=decoded, looked=one.looked))
    if pipeline.finder is None:
        return looked
    if pipeline.finder.sees_bursts:
        had = {one.medium.sha256 for one in held}
        looked.held.extend(cut_off(pipeline, looked.learned, had, goes_on))
    later = {one.medium.sha256 for one in looked.held}
    now = [one for one in looked.learned if one.medium.sha256 not in later]
    found = _find(pipeline, pipeline.finder, now)
    return replace(looked, learned=_look_again(pipeline, found, looked.refused))


def _objects_in(boxes: BoxesFile, files: Sequence[FoundFile]) -> tuple[FoundObject, ...] | None:
    """None where the boxes file knows none of the medium's names."""
    for file in files:
        found = boxes.find(file.relative)
        if found is not None:
            return tuple(found)
    return None


def _by_frame(objects: Sequence[FoundObject]) -> dict[int, tuple[FoundObject, ...]]:
    frames: dict[int, tuple[FoundObject, ...]] = {}
    for one in objects:
        number = one.frame_number or 0
        frames[number] = (*frames.get(number, ()), one)
    return frames


def _find(pipeline: Pipeline, finder: Finder, learned: Sequence[Learned]) -> list[Learned]:
    """The media with what the finder saw in each view; those of a camera are shown together."""
    by_camera: dict[str, list[int]] = {}
    for number, one in enumerate(learned):
        by_camera.setdefault(one.medium.files[0].deployment_id, []).append(number)
    found = list(learned)
    with pipeline.health.timed("detect"):
        for deployment_id, numbers in by_camera.items():
            views = [view for number in numbers for view in learned[number].decoded.views]
            times = [when for number in numbers for when in _times(pipeline, learned[number])]
            answers = finder.find_all(deployment_id, views, times)
            assert len(answers) == len(views), "a finder answers for each view"
            objects = iter(answers)
            for number in numbers:
                decoded = learned[number].decoded
                with_objects = tuple(_bare(view, next(objects)) for view in decoded.views)
                found[number] = replace(
                    learned[number], decoded=replace(decoded, views=with_objects)
                )
            pipeline.beat()
    return found


def _times(pipeline: Pipeline, learned: Learned) -> list[datetime]:
    """When each view was taken."""
    begin = pipeline.times.taken(learned.decoded, learned.medium.files[0]).captured_at
    return [begin + timedelta(milliseconds=view.frame_ms or 0) for view in learned.decoded.views]


def _bare(view: View, objects: Sequence[FoundObject]) -> View:
    """Without its look, which is not needed any more, and with nothing cut out yet."""
    return replace(view, objects=tuple(objects), cuts=(None,) * len(objects), look_HWC=None)


def _look_again(
    pipeline: Pipeline, found: Sequence[Learned], refused: list[Refused]
) -> list[Learned]:
    """Pixels at the scale that the boxes need, of the frames that have any to be cut out."""
    again: dict[int, Future[Decoded]] = {}
    for number, one in enumerate(found):
        wanted = _second_pass(pipeline, one.decoded)
        if wanted is not None:
            again[number] = pipeline.decoders.submit(one.medium.data, wanted)
    with pipeline.health.timed("decode"):
        _wait(pipeline, list(again.values()))
    learned: list[Learned] = []
    for number, one in enumerate(found):
        if number not in again:
            learned.append(one)
            continue
        try:
            cut = again[number].result()
        except MediaError as error:
            refused.append(Refused(medium=one.medium, error=error))
            continue
        of_frame = {view.frame_number: view for view in cut.views}
        views = tuple(of_frame.get(view.frame_number, view) for view in one.decoded.views)
        learned.append(replace(one, decoded=replace(one.decoded, views=views)))
    return learned


def _second_pass(pipeline: Pipeline, decoded: Decoded) -> Wanted | None:
    """None where nothing is to be cut out: a blank costs no more."""
    wanted = Wanted(
        spec=pipeline.encoder.manifest.input, objects=(), look_side=None, people=pipeline.people
    )
    frames = {
        view.frame_number: view.objects
        for view in decoded.views
        if any(wanted.cuts_out(one) for one in view.objects)
    }
    if not frames:
        return None
    if decoded.kind == "image":
        return replace(wanted, objects=frames[None])
    return replace(wanted, of_frames={n: o for n, o in frames.items() if n is not None})


def _wait(pipeline: Pipeline, futures: Sequence[Future[Decoded]]) -> None:
    """Every one ends: the pool gives each file a time limit."""
    pending = set(futures)
    while pending:
        _, pending = wait(pending, timeout=_TICK_SECONDS)
        pipeline.beat()
