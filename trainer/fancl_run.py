"""A label-free run in its directory: from the start to the last epoch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edge.errors import InputError
from trainer import checkpoint
from trainer.backbone import NO_WEIGHTS
from trainer.bursts import find_scenes, warm_up
from trainer.checkpoint import load_encoder
from trainer.data import Crops
from trainer.encoder import Encoder, twin
from trainer.fana import Fana
from trainer.fancl import EpochEnd, EpochReport, Training, train_epochs
from trainer.links import cannot_link
from trainer.optimiser import new_optimiser
from trainer.pixels import Pixels
from trainer.rundir import num_skipped, write_clusters
from trainer.settings import FanclConfig, KeptSettings, check
from trainer.views import Networks
from trainer.whitening import within_cluster_whitening
from trainer.workplace import Record, Told, Workplace, told_scores


def refuse(encoder: Encoder, config: FanclConfig, num_crops: int, use_bursts: bool) -> None:
    """Raises InputError for what can be known to fail before anything is written."""
    check(config)
    if not use_bursts and (config.clustering.unit == "bursts" or config.batch.spread_bursts):
        raise InputError(
            "clustering.unit=bursts and batch.spread_bursts=on need bursts, and few or none are "
            "known here: see --bursts"
        )
    if num_crops < config.batch.size:
        raise InputError(
            f"{num_crops} crops are fewer than a batch of {config.batch.size} "
            f"({config.batch.clusters} clusters x {config.batch.images} pictures): add pictures, "
            "or make batches smaller with --set batch.clusters=N"
        )
    Fana(encoder, config.fana, config.seed)


def run(place: Workplace, config: FanclConfig, burst_N: NDArray[np.int64]) -> None:
    """Train to the last epoch, or go on from where the directory stands."""
    pixels = Pixels(place.crops.images_NHWC, place.device)
    if place.is_new:
        place.prepare_start()
        _warm_up(place, config, pixels, burst_N)
    torch.manual_seed(config.seed)
    networks = Networks(place.encoder, config.loss).to(place.device)
    networks = networks.to(memory_format=torch.channels_last)
    optimiser = new_optimiser(networks, config.schedule, place.device)
    record = Record(place, networks, optimiser)
    start = None
    if config.kept.start_share:
        start = load_encoder(place.out / checkpoint.START).encoder.to(place.device)
    by_burst = config.clustering.unit == "bursts"
    unit_N = burst_N if by_burst else np.arange(len(burst_N))
    training = Training(
        networks=networks,
        start=start,
        optimiser=optimiser,
        pixels=pixels,
        burst_N=burst_N,
        apart_P2=cannot_link(unit_N, picture_numbers(place.crops)),
        config=config,
        precision=place.precision,
        listener=Told(place.narrator, config.schedule.epochs),
    )
    for end in train_epochs(training, record.done + 1, num_skipped(record.metrics)):
        kept = _kept(end, config.kept, place.device)
        if end.report.loss is not None:
            place.save_encoder(checkpoint.ENCODER, kept, end.report.epoch)
        write_clusters(place.out, place.crops, burst_N, end.pseudo_labels.label_N, end.similarity_N)
        scores = place.scores(kept, end.pseudo_labels.label_N)
        record.add(end.report, end.step_losses, scores)
        place.narrator.say(_sentence(end.report, config.schedule.epochs) + told_scores(scores))


def _kept(end: EpochEnd, settings: KeptSettings, device: torch.device) -> Encoder:
    """The encoder that an epoch leaves, whitened within its clusters if the settings say so."""
    if settings.whitening is None or end.emb_ND is None:
        return end.encoder
    encoder = twin(end.encoder)
    emb_ND, label_N = end.emb_ND.cpu().numpy(), end.pseudo_labels.label_N
    encoder.whitening = within_cluster_whitening(emb_ND, label_N, settings.whitening).to(device)
    return encoder


def _warm_up(
    place: Workplace, config: FanclConfig, pixels: Pixels, burst_N: NDArray[np.int64]
) -> None:
    steps = config.warm_up.steps
    if not steps:
        return
    warm_up(
        place.encoder,
        pixels,
        burst_N,
        find_scenes(place.crops.facts, place.crops.images_NHWC, burst_N),
        config.warm_up,
        config.seed,
        place.precision,
        lambda step, loss: place.narrator.progress(
            "warm-up on bursts", step, steps, f"loss {loss:.3f}"
        ),
    )


def tell_start(place: Workplace, use_bursts: bool, burst_N: NDArray[np.int64]) -> None:
    """Says what the run starts from and what it knows of bursts."""
    say = place.narrator.say
    if place.loaded.weights == NO_WEIGHTS:
        say(f"{place.loaded.spec.name} starts from RANDOM weights: no pretrained ones were given")
        if not use_bursts:
            say(
                "without bursts a random start usually collapses: give --weights, or pictures "
                "with EXIF times"
            )
    if use_bursts:
        say(f"{int(burst_N.max()) + 1} bursts: their frames count as the same animal")


def picture_numbers(crops: Crops) -> NDArray[np.int64]:
    """A number a crop; crops of one picture share it."""
    numbers = {
        name: number
        for number, name in enumerate(dict.fromkeys(fact.picture.name for fact in crops.facts))
    }
    return np.array([numbers[fact.picture.name] for fact in crops.facts], np.int64)


def _sentence(report: EpochReport, epochs: int) -> str:
    loss = "skipped" if report.loss is None else f"loss {report.loss:.3f}"
    return (
        f"epoch {report.epoch}/{epochs}: {loss}, {report.num_clusters} clusters "
        f"(eps {report.eps:.2f}, largest {report.largest_share:.0%}), "
        f"{report.num_outliers} crops left out, {report.seconds:.0f} s"
    )
