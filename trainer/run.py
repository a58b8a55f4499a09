"""One training run from pictures to a run directory: what `fancl-train` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError
from edge.pictures import Collection, read_collection
from edge.preprocess import InputSpec
from edge.text import counted
from trainer import checkpoint, fancl_run, precision, supervised_run
from trainer.backbone import IMAGENET, NO_WEIGHTS, SMALL_CNN, LoadedBackbone, load_backbone
from trainer.bursts import BurstUse, find_bursts, worth_using
from trainer.card.record import is_begun
from trainer.card.search import search_card
from trainer.clip.settings import IndivaidConfig
from trainer.data import Crops, load_crops
from trainer.evaluation.scoring import Truth, load_truth, retrieved_by
from trainer.narrator import Narrator
from trainer.report.page import REPORT, write_report
from trainer.resnet import Pooling
from trainer.rundir import (
    open_run,
    read_rows,
    record_of,
    refuse_foreign_folder,
    require_trained,
)
from trainer.settings import FanclConfig
from trainer.supervised import SupervisedConfig
from trainer.workplace import Workplace, new_encoder

if TYPE_CHECKING:  # loads open_clip, which only its own methods need
    from trainer.clip.image import ClipPair

_TEXT_SEED = 1


class Configure(Protocol):
    """Settings for the data at hand, with the user's flags applied."""

    def __call__(
        self, num_crops: int, use_bursts: bool, random_start: bool
    ) -> FanclConfig | SupervisedConfig | IndivaidConfig: ...


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for, before the data are known."""

    data: Path
    out: Path
    boxes: Path | None
    detector: str | None  # instead of boxes: a detector's file, or "motion"
    backbone: str
    with_text: bool  # the backbone is a CLIP model whose text tower is wanted too
    weights: str | None
    height: int
    width: int
    last_stride: Literal[1, 2]  # of resnet50, as is the next
    pooling: Pooling
    bursts: BurstUse
    score: bool  # each epoch against the query and gallery rows of DATA
    device: torch.device
    precision: precision.Wanted
    configure: Configure


def train(request: RunRequest, narrator: Narrator) -> None:
    """Train, or go on with, the run in `request.out`.

    Raises InputError where the data or the run directory cannot serve, WeightsError where the
    weights cannot.
    """
    spec = InputSpec(height=request.height, width=request.width, resize="squash", pad_value=0)
    searches = request.detector is not None
    refuse_foreign_folder(request.out, is_begun=searches and is_begun(request.out))
    collection = read_collection(request.data, split="train")  # before anything is downloaded
    loaded, pair = _load_networks(request, narrator)
    boxes, detector = request.boxes, None
    if request.detector is not None:
        searched = search_card(request.out, request.data, request.detector, narrator)
        boxes, detector = searched.table, searched.detector
    crops = _load(request, collection, boxes, spec, narrator)
    burst_N = find_bursts(crops.facts, request.bursts)
    use_bursts = _use_bursts(request.bursts, burst_N)
    random_start = loaded.weights == NO_WEIGHTS
    config = request.configure(len(crops), use_bursts, random_start)
    encoder = new_encoder(loaded, config.seed, request.device)
    if isinstance(config, SupervisedConfig | IndivaidConfig):
        identities, label_N = supervised_run.labels_of(crops, config.method)
        if pair is not None and isinstance(config, IndivaidConfig):
            from trainer.clip import run as clip_run

            clip_run.refuse(pair, config, label_N)
    else:
        fancl_run.refuse(encoder, config, len(crops), use_bursts)
    truth = load_truth(request.data, spec, boxes, crops, narrator) if request.score else None
    record = record_of(request.data, boxes, detector, spec, loaded, crops, request.bursts, config)
    if open_run(request.out, record, narrator.say):
        if not (request.out / REPORT).is_file():  # stopped just before it was written
            _report(request, crops, truth, narrator)
        return
    place = Workplace(
        out=request.out,
        method=config.method,
        loaded=loaded,
        encoder=encoder,
        spec=spec,
        crops=crops,
        truth=truth,
        device=request.device,
        precision=precision.settle(
            request.out, request.precision, encoder, request.device, narrator.say
        ),
        narrator=narrator,
    )
    if isinstance(config, SupervisedConfig):
        supervised_run.tell_labels(place, identities)
        supervised_run.run(place, config, label_N)
    elif isinstance(config, IndivaidConfig):
        assert pair is not None
        from trainer.clip import run as clip_run

        supervised_run.tell_labels(place, identities)
        clip_run.tell_start(place, pair, label_N)
        clip_run.run(place, pair, config, label_N)
    else:
        fancl_run.tell_start(place, use_bursts, burst_N)
        fancl_run.run(place, config, burst_N)
    _report(request, crops, truth, narrator)
    require_trained(read_rows(request.out / checkpoint.METRICS))


def _load_networks(
    request: RunRequest, narrator: Narrator
) -> tuple[LoadedBackbone, ClipPair | None]:
    """The backbone, and with a text tower the whole CLIP model."""
    if request.with_text:
        from trainer.clip.image import load_pair

        if request.weights is None:
            narrator.say(f"getting the weights of {request.backbone}; a download, once")
        torch.manual_seed(_TEXT_SEED)  # a text tower without weights must come back after a stop
        pair = load_pair(request.backbone, request.weights, request.height, request.width)
        return pair.image, pair
    if request.weights in (None, IMAGENET) and request.backbone != SMALL_CNN:
        narrator.say(f"getting the ImageNet weights of {request.backbone}; a download, once")
    loaded = load_backbone(
        request.backbone,
        request.weights,
        request.height,
        request.width,
        request.last_stride,
        request.pooling,
    )
    return loaded, None


def _report(request: RunRequest, crops: Crops, truth: Truth | None, narrator: Narrator) -> None:
    narrator.say("writing the report")
    found = None
    if truth is not None and (request.out / checkpoint.ENCODER).is_file():
        encoder = checkpoint.load_encoder(request.out).encoder.to(request.device)
        found = retrieved_by(encoder, truth, request.device)
    narrator.say(f"look at {write_report(request.out, crops, found)}")


def _load(
    request: RunRequest,
    collection: Collection,
    boxes: Path | None,
    spec: InputSpec,
    narrator: Narrator,
) -> Crops:
    crops = load_crops(
        collection,
        spec,
        BoxesFile(boxes) if boxes else None,
        cache_folder=request.out.parent,
        progress=lambda done, total: narrator.progress("reading pictures", done, total),
    )
    narrator.say(f"{len(collection.pictures)} pictures, {len(crops)} crops")
    if crops.num_without_animal:
        narrator.say(f"{crops.num_without_animal} pictures show no animal (blank or not in boxes)")
    if crops.num_unfit:
        boxes_left_out = counted(crops.num_unfit, "box", "boxes")
        narrator.say(f"{boxes_left_out} left out: too small, too poor, or with a person in it")
    if crops.skipped:
        name, reason = crops.skipped[0]
        narrator.say(f"{len(crops.skipped)} pictures left out; the first: {name}: {reason}")
    return crops


def _use_bursts(wanted: BurstUse, burst_N: NDArray[np.int64]) -> bool:
    known = worth_using(burst_N)
    if wanted == "column" and not known:
        raise InputError(
            "--bursts column, but too few pictures share a value of the `encounter` column with "
            "another: fill it, or use --bursts auto (EXIF times count too) or off"
        )
    return known
