"""One training run from pictures to a run directory: what `fancl-train` does."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from edge.detect import BoxesFile
from edge.errors import InputError
from edge.pictures import Collection, read_collection
from edge.preprocess import InputSpec
from trainer import checkpoint
from trainer.backbone import IMAGENET, NO_WEIGHTS, SMALL_CNN, LoadedBackbone, load_backbone
from trainer.bursts import find_bursts, find_scenes, warm_up, worth_using
from trainer.checkpoint import EncoderFacts, StoredEncoder
from trainer.data import Crops, load_crops
from trainer.encoder import Encoder, Precision, autocast, set_neck_statistics, to_pixels
from trainer.fana import Fana
from trainer.fancl import EpochReport, FanclConfig, Training, train_epochs
from trainer.rundir import (
    REPORT_COLUMNS,
    cell,
    num_skipped,
    open_run,
    read_reports,
    record_of,
    refuse_foreign_folder,
    require_trained,
    resolved_precision,
    store_precision,
    write_clusters,
)
from trainer.views import Networks

BurstUse = Literal["auto", "on", "off"]


class Configure(Protocol):
    """Settings for the data at hand, with the user's flags applied."""

    def __call__(self, num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig: ...


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for, before the data are known."""

    data: Path
    out: Path
    boxes: Path | None
    backbone: str
    weights: str | None
    height: int
    width: int
    bursts: BurstUse
    device: torch.device
    precision: Literal["auto", "fp32", "bf16"]
    configure: Configure


class Narrator(Protocol):
    """What a run says while it goes on; the command line shows it, tests collect it."""

    def say(self, sentence: str) -> None: ...
    def progress(self, what: str, done: int, total: int, note: str = "") -> None: ...


def train(request: RunRequest, narrator: Narrator) -> None:
    """Train, or go on with, the run in `request.out`.

    Raises InputError where the data or the run directory cannot serve, WeightsError where the
    weights cannot.
    """
    spec = InputSpec(height=request.height, width=request.width, resize="squash", pad_value=0)
    refuse_foreign_folder(request.out)
    collection = read_collection(request.data, split="train")  # before anything is downloaded
    if request.weights in (None, IMAGENET) and request.backbone != SMALL_CNN:
        narrator.say(f"getting the ImageNet weights of {request.backbone}; a download, once")
    loaded = load_backbone(request.backbone, request.weights, request.height, request.width)
    crops = _load(request, collection, spec, narrator)
    burst_N = find_bursts(crops.facts)
    use_bursts = _use_bursts(request, loaded, burst_N, narrator)
    config = request.configure(len(crops), use_bursts, loaded.weights == NO_WEIGHTS)
    if len(crops) < config.batch_size:
        raise InputError(
            f"{len(crops)} crops are fewer than a batch of {config.batch_size} "
            f"({config.clusters_per_batch} clusters x {config.images_per_cluster} pictures): add "
            "pictures, or make batches smaller with --clusters-per-batch"
        )
    encoder = _new_encoder(request, loaded, config.seed)
    Fana(encoder, config.fana_area, config.fana_layer)  # refused before anything is written
    record = record_of(request.data, request.boxes, spec, loaded, crops, config)
    if open_run(request.out, record, narrator.say):
        return
    precision = _precision(request, encoder, narrator)
    if not (request.out / checkpoint.STATE).is_file():
        facts = _facts(config, loaded, spec, epoch=0)
        _prepare_start(request, encoder, facts, crops, config, burst_N, precision, narrator)
    _train(request, encoder, spec, loaded, crops, burst_N, config, precision, narrator)


def _load(
    request: RunRequest, collection: Collection, spec: InputSpec, narrator: Narrator
) -> Crops:
    boxes = BoxesFile(request.boxes) if request.boxes else None
    crops = load_crops(
        collection,
        spec,
        boxes,
        cache_folder=request.out.parent,
        progress=lambda done, total: narrator.progress("reading pictures", done, total),
    )
    narrator.say(f"{len(collection.pictures)} pictures, {len(crops)} crops")
    if crops.num_without_animal:
        narrator.say(f"{crops.num_without_animal} pictures show no animal (blank or not in boxes)")
    if crops.skipped:
        name, reason = crops.skipped[0]
        narrator.say(f"{len(crops.skipped)} pictures left out; the first: {name}: {reason}")
    return crops


def _use_bursts(
    request: RunRequest, loaded: LoadedBackbone, burst_N: NDArray[np.int64], narrator: Narrator
) -> bool:
    known = worth_using(burst_N)
    random_start = loaded.weights == NO_WEIGHTS
    if request.bursts == "on" and not known:
        raise InputError(
            "--bursts on, but too few pictures belong to a burst: it takes EXIF times seconds "
            "apart within a folder, or an `encounter` column"
        )
    use = request.bursts == "on" or (request.bursts == "auto" and known and random_start)
    if random_start:
        narrator.say(
            f"{request.backbone} starts from RANDOM weights: no pretrained ones were given"
        )
        if not use:
            narrator.say(
                "without bursts a random start usually collapses: give --weights, or pictures "
                "with EXIF times"
            )
    if use:
        narrator.say(f"{int(burst_N.max()) + 1} bursts: their frames count as the same animal")
    return use


def _new_encoder(request: RunRequest, loaded: LoadedBackbone, seed: int) -> Encoder:
    torch.manual_seed(seed)
    if loaded.weights == NO_WEIGHTS:  # drawn again, so that the seed decides the start
        loaded = load_backbone(request.backbone, NO_WEIGHTS, request.height, request.width)
    encoder = Encoder(loaded.spec, loaded.module).to(request.device)
    return encoder.to(memory_format=torch.channels_last)


def _prepare_start(
    request: RunRequest,
    encoder: Encoder,
    facts: EncoderFacts,
    crops: Crops,
    config: FanclConfig,
    burst_N: NDArray[np.int64],
    precision: Precision,
    narrator: Narrator,
) -> None:
    """What precedes the first epoch: the neck's statistics, the stored control, the warm-up."""
    set_neck_statistics(encoder, crops.images_NHWC, request.device, "fp32")
    checkpoint.save_encoder(
        request.out / checkpoint.START, StoredEncoder(encoder=encoder, facts=facts)
    )
    if config.warm_up is None:
        return
    steps = config.warm_up.steps
    warm_up(
        encoder,
        crops.images_NHWC,
        burst_N,
        find_scenes(crops.facts, crops.images_NHWC, burst_N),
        config.warm_up,
        config.seed,
        request.device,
        precision,
        lambda step, loss: narrator.progress("warm-up on bursts", step, steps, f"loss {loss:.3f}"),
    )


def _facts(
    config: FanclConfig, loaded: LoadedBackbone, spec: InputSpec, epoch: int
) -> EncoderFacts:
    return EncoderFacts(
        method=config.method,
        backbone=loaded.spec,
        weights=loaded.weights,
        input=spec,
        epoch=epoch,
    )


class _Told:
    """Turns what the training loop says into progress and sentences."""

    def __init__(self, narrator: Narrator, epochs: int) -> None:
        self._narrator, self._epochs = narrator, epochs

    def on_steps(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        done, total = (epoch - 1) * num_steps + step, self._epochs * num_steps
        note = f"epoch {epoch} of {self._epochs}, loss {loss:.3f}"
        self._narrator.progress("training", done, total, note)

    def on_trouble(self, sentence: str) -> None:
        self._narrator.say(sentence)


def _train(
    request: RunRequest,
    encoder: Encoder,
    spec: InputSpec,
    loaded: LoadedBackbone,
    crops: Crops,
    burst_N: NDArray[np.int64],
    config: FanclConfig,
    precision: Precision,
    narrator: Narrator,
) -> None:
    torch.manual_seed(config.seed)
    networks = Networks(encoder, config.method).to(request.device)
    networks = networks.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(
        [one for one in networks.parameters() if one.requires_grad],
        config.learning_rate,
        weight_decay=config.weight_decay,
    )
    state = request.out / checkpoint.STATE
    done = checkpoint.load_state(state, networks, optimiser) if state.is_file() else 0
    if done == 0:
        checkpoint.save_state(state, networks, optimiser, 0)  # keeps the warm-up
    reports = read_reports(request.out)[:done]
    training = Training(
        networks=networks,
        optimiser=optimiser,
        images_NHWC=crops.images_NHWC,
        burst_N=burst_N,
        config=config,
        device=request.device,
        precision=precision,
        listener=_Told(narrator, config.epochs),
    )
    for end in train_epochs(training, done + 1, num_skipped(reports)):
        epoch = end.report.epoch
        if end.report.loss is not None:
            facts = _facts(config, loaded, spec, epoch)
            checkpoint.save_encoder(
                request.out / checkpoint.ENCODER, StoredEncoder(encoder=encoder, facts=facts)
            )
        write_clusters(request.out, crops, burst_N, end)
        reports.append([cell(value) for value in dataclasses.astuple(end.report)])
        checkpoint.write_rows(request.out / checkpoint.METRICS, REPORT_COLUMNS, reports)
        checkpoint.save_state(state, networks, optimiser, epoch)
        narrator.say(_epoch_sentence(end.report, config.epochs))
    require_trained(reports)


def _epoch_sentence(report: EpochReport, epochs: int) -> str:
    loss = "skipped" if report.loss is None else f"loss {report.loss:.3f}"
    return (
        f"epoch {report.epoch}/{epochs}: {loss}, {report.num_clusters} clusters "
        f"(largest {report.largest_share:.0%}), {report.num_outliers} crops left out, "
        f"{report.seconds:.0f} s"
    )


def _precision(request: RunRequest, encoder: Encoder, narrator: Narrator) -> Precision:
    """As this run began; else as the user said; else whichever trains faster here."""
    before = resolved_precision(request.out)
    if before is not None:
        return before
    chosen: Precision = (
        _faster(request, encoder, narrator) if request.precision == "auto" else request.precision
    )
    store_precision(request.out, chosen)
    return chosen


def _faster(request: RunRequest, encoder: Encoder, narrator: Narrator) -> Precision:
    seconds = {
        name: _time_steps(encoder, request, name) for name in ("fp32", "bf16")
    }  # a few steps each; the better of two rounds
    best: Precision = "bf16" if seconds["bf16"] < 0.9 * seconds["fp32"] else "fp32"
    narrator.say(
        f"training in {best}: a step takes {seconds['fp32']:.2f} s in fp32, "
        f"{seconds['bf16']:.2f} s in bf16"
    )
    return best


def _time_steps(encoder: Encoder, request: RunRequest, precision: Precision) -> float:
    pixels = torch.zeros((32, request.height, request.width, 3), dtype=torch.uint8)
    images = encoder.normalise(to_pixels(pixels.to(request.device)))
    images = images.contiguous(memory_format=torch.channels_last)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.train()
    took = []
    for _ in range(3):
        began = time.monotonic()
        with autocast(request.device, precision):
            emb_ND = encoder(images)
        emb_ND.float().sum().backward()
        if request.device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.monotonic() - began)
    encoder.zero_grad(set_to_none=True)
    encoder.load_state_dict(before)  # the trial has moved the BN statistics
    return min(took)
