"""FANCL: unsupervised re-identification by noise-consistent clustering (arXiv 2405.00468).

Two encoders of one architecture see a picture and its noised twin (FANA); a fused view joins
both. Each epoch clusters the clean embeddings, builds a memory of cluster centres for each of the
three views, and pulls every picture to its centre (eq. 6) and the clean view to the noised one
(eq. 7). Without the noised branch this is Cluster Contrast, its base method.

What the paper leaves open is a setting; `settings.py` says where each comes from.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.errors import FanclError
from trainer.augment import augmented
from trainer.blend import blend
from trainer.bursts import burst_means
from trainer.clustering import PseudoLabels, cluster
from trainer.encoder import Encoder, Precision, to_pixels, unit
from trainer.fana import Fana
from trainer.losses import Losses, fancl_loss
from trainer.memory import build_memories, cluster_centres
from trainer.optimiser import begin_epoch, seed_of
from trainer.pixels import Pixels
from trainer.sampler import sample_batches
from trainer.settings import ClusteringSettings, FanclConfig
from trainer.views import Networks, Views, embed_all, extract, forward, prepare

_MAX_SKIPPED_EPOCHS = 3
_TELL_EVERY = 10  # steps; reading a loss makes the CPU wait for a GPU


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What training knows of an epoch, for a row of metrics.csv."""

    epoch: int
    seconds: float
    clustering_seconds: float  # of them, for labels without their extraction
    learning_rate: float
    loss: float | None  # None where the epoch was skipped
    cluster_loss: float | None
    consistency_loss: float | None
    num_clusters: int
    num_outliers: int  # pictures
    largest_share: float
    eps: float
    agreement: float | None  # see clustering.PseudoLabels
    silhouette: float | None


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    report: EpochReport
    step_losses: tuple[float, ...]  # of eq. 10
    pseudo_labels: PseudoLabels  # of pictures
    similarity_N: NDArray[np.float32]  # of each picture to its cluster's centre; nan for outliers
    encoder: Encoder  # what the epoch leaves: the clean one, with its share of the start
    emb_ND: Tensor | None  # its embeddings of all crops, where they are needed already


class Listener(Protocol):
    def on_steps(self, epoch: int, step: int, num_steps: int, loss: float) -> None: ...
    def on_trouble(self, sentence: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that stays the same from epoch to epoch."""

    networks: Networks
    start: Encoder | None  # before training; None where it has no share in the result
    optimiser: torch.optim.Optimizer
    pixels: Pixels
    burst_N: NDArray[np.int64]
    apart_P2: NDArray[np.int64]  # pairs of clustered units that show two animals
    config: FanclConfig
    precision: Precision
    listener: Listener


def train_epochs(training: Training, first_epoch: int, num_skipped: int = 0) -> Iterator[EpochEnd]:
    """Train from `first_epoch` on, yielding after each epoch so that the caller can save.

    `num_skipped` is the number of epochs just before the first that had nothing to learn from.
    Raises FanclError when clustering collapses three epochs running.
    """
    config, listener = training.config, training.listener
    skipped = num_skipped
    carried_ND: Tensor | None = None  # embeddings by the last epoch's encoder, to cluster next
    for epoch in range(first_epoch, config.schedule.epochs + 1):
        began = time.monotonic()
        rate = begin_epoch(training.optimiser, config.schedule, config.seed, epoch)
        fana = Fana(training.networks.clean, config.fana, seed_of(config.seed, epoch))
        views = extract(training.networks, fana, training.pixels, training.precision)
        if carried_ND is None and training.start is not None:
            carried_ND = embed_all(_with_start(training), training.pixels, training.precision)
        emb_ND = _to_cluster(training, views.clean_ND if carried_ND is None else carried_ND)
        labels, clustering_seconds = _timed_labels(training, emb_ND)
        if labels.trouble:
            listener.on_trouble(f"epoch {epoch}: {labels.trouble}")
        losses: list[Losses] = []
        if labels.usable:
            skipped = 0
            losses = train_one_epoch(training, fana, views, labels.label_N, epoch)
        else:
            skipped += 1
            listener.on_trouble(f"epoch {epoch}: nothing to learn from, skipped")
        encoder, carried_ND = _with_start(training), None
        if training.start is not None or config.kept.whitening is not None:
            carried_ND = embed_all(encoder, training.pixels, training.precision)
        yield EpochEnd(
            report=_report(epoch, began, clustering_seconds, rate, labels, losses),
            step_losses=_on_cpu([one.total for one in losses]),
            pseudo_labels=labels,
            similarity_N=_similarity_to_centre(emb_ND, labels.label_N),
            encoder=encoder,
            emb_ND=carried_ND,
        )
        if skipped >= _MAX_SKIPPED_EPOCHS:
            raise FanclError(
                f"clustering collapsed in {skipped} epochs running, the last time: "
                f"{labels.trouble}; pretrained weights (--weights) and known bursts also help"
            )


def _report(
    epoch: int,
    began: float,
    clustering_seconds: float,
    rate: float,
    labels: PseudoLabels,
    losses: list[Losses],
) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        seconds=round(time.monotonic() - began, 2),
        clustering_seconds=round(clustering_seconds, 2),
        learning_rate=rate,
        loss=_mean(_on_cpu([one.total for one in losses])),
        cluster_loss=_mean(_on_cpu([one.cluster for one in losses])),
        consistency_loss=_mean(_on_cpu([one.consistency for one in losses])),
        num_clusters=labels.num_clusters,
        num_outliers=labels.num_outliers,
        largest_share=labels.largest_share,
        eps=labels.eps,
        agreement=labels.agreement,
        silhouette=labels.silhouette,
    )


def _with_start(training: Training) -> Encoder:
    """The clean encoder, mixed with its start where that has a share."""
    encoder = training.networks.clean
    if training.start is None:
        return encoder
    return blend(encoder, training.start, training.config.kept.start_share)


def _to_cluster(training: Training, emb_ND: Tensor) -> Tensor:
    """The embeddings to cluster: as given, or averaged with those of the mirror images."""
    if not training.config.clustering.flip_average:
        return emb_ND
    encoder = _with_start(training)
    return unit(emb_ND + embed_all(encoder, training.pixels, training.precision, mirror=True))


def _timed_labels(training: Training, emb_ND: Tensor) -> tuple[PseudoLabels, float]:
    on_cpu = emb_ND.cpu().numpy()
    began = time.monotonic()
    labels = pseudo_labels(
        on_cpu,
        training.burst_N,
        training.apart_P2,
        training.config.clustering,
        training.pixels.device,
    )
    return labels, time.monotonic() - began


def pseudo_labels(
    emb_ND: NDArray[np.float32],
    burst_N: NDArray[np.int64],
    apart_P2: NDArray[np.int64],
    settings: ClusteringSettings,
    device: torch.device | str = "cpu",
) -> PseudoLabels:
    """A label a crop from clustering the clean embeddings, or the means of their bursts."""
    if settings.unit == "pictures":
        return cluster(emb_ND, np.arange(len(emb_ND)), apart_P2, settings, device)
    return cluster(burst_means(emb_ND, burst_N), burst_N, apart_P2, settings, device)


def train_one_epoch(
    training: Training, fana: Fana, views: Views, label_N: NDArray[np.int64], epoch: int
) -> list[Losses]:
    config, networks = training.config, training.networks
    memories = build_memories(views, label_N, config.memory)
    chooser = np.random.default_rng([config.seed, epoch])
    rng = torch.Generator(training.pixels.device).manual_seed(seed_of(config.seed, epoch))
    sampled = sample_batches(label_N, training.burst_N, config.batch, chooser)
    losses: list[Losses] = []
    networks.train()
    if config.schedule.freeze_statistics:
        _keep_statistics(networks)
    num_steps = config.schedule.iterations
    for step in range(1, num_steps + 1):
        rows = next(sampled)
        label_B = torch.from_numpy(label_N[rows])
        pixels = to_pixels(training.pixels.rows(rows))
        pixels = augmented(pixels, config.augment, rng, networks.clean.mean)
        batch = forward(networks, fana, prepare(networks.clean, pixels), training.precision)
        loss = fancl_loss(batch, memories, label_B.to(pixels.device), config.loss)
        training.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        training.optimiser.step()
        memories.update(batch, label_B)
        losses.append(dataclasses.replace(loss, total=loss.total.detach()))
        if step % _TELL_EVERY == 0 or step == num_steps:
            training.listener.on_steps(epoch, step, num_steps, float(losses[-1].total))
    return losses


def _keep_statistics(networks: nn.Module) -> None:
    """The backbones' BN normalises as in eval mode; the necks keep learning theirs."""
    for one in networks.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.eval()


def _similarity_to_centre(clean_ND: Tensor, label_N: NDArray[np.int64]) -> NDArray[np.float32]:
    similarity = np.full(len(label_N), np.nan, np.float32)
    kept = np.flatnonzero(label_N >= 0)
    if len(kept):
        emb_KD = clean_ND.cpu()[kept]
        label_K = torch.from_numpy(label_N[kept])
        centres = cluster_centres(emb_KD, label_K)
        similarity[kept] = (emb_KD * centres[label_K]).sum(dim=1).numpy()
    return similarity


def _on_cpu(scalars: list[Tensor]) -> tuple[float, ...]:
    return tuple(torch.stack(scalars).tolist()) if scalars else ()


def _mean(values: tuple[float, ...]) -> float | None:
    return float(np.mean(values)) if values else None
