"""FANCL: unsupervised re-identification by noise-consistent clustering (arXiv 2405.00468).

Two encoders of one architecture see a picture and its noised twin (FANA); a fused view joins
both. Each epoch clusters the clean embeddings, builds a memory of cluster centres for each of the
three views, and pulls every picture to its centre (eq. 6) and the clean view to the noised one
(eq. 7). Without the noised branch this is Cluster Contrast, its base method.

What the paper leaves open is resolved as the base code does it, or noted beside the setting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.errors import FanclError
from trainer import augment
from trainer.bursts import WarmUp, burst_means
from trainer.clustering import ClusteringSettings, PseudoLabels, cluster
from trainer.encoder import Precision, to_pixels
from trainer.fana import Fana, FanaLayer
from trainer.memory import (
    ClusterMemory,
    Memories,
    build_memories,
    cluster_loss,
    consistency_loss,
)
from trainer.sampler import sample_batches
from trainer.views import Method, Networks, Views, extract, forward, prepare

_MAX_SKIPPED_EPOCHS = 3


@dataclass(frozen=True, kw_only=True)
class FanclConfig:
    """All settings of a run; `paper` and `from_bursts` give the two starting points."""

    method: Method
    epochs: int
    iterations: int  # an epoch
    clusters_per_batch: int  # P
    images_per_cluster: int  # K
    learning_rate: float  # Adam
    weight_decay: float
    decay_epochs: int | None  # the rate falls to a tenth every so many epochs; None: never
    temperature: float  # tau of eq. 4
    memory_keep: float  # alpha of eq. 9: share of the old centre that stays
    fana_area: float  # p, share of pixels blackened
    fana_layer: FanaLayer
    clustering: ClusteringSettings
    cluster_bursts: bool  # cluster burst means instead of pictures (beyond the paper)
    augmentation: Literal["weak", "strong"]  # weak: the paper's
    flip: bool  # with the weak augmentation
    warm_up: WarmUp | None  # beyond the paper
    seed: int

    @property
    def batch_size(self) -> int:
        return self.clusters_per_batch * self.images_per_cluster


def paper(method: Method, seed: int, num_crops: int) -> FanclConfig:
    """The paper's settings (IV-A); K and clustering from its base code.

    The paper names no number of iterations: four passes over the crops, as the base code's 200
    batches of 256 are on its data.
    """
    return FanclConfig(
        method=method,
        epochs=60,
        iterations=max(50, math.ceil(4 * num_crops / 64)),
        clusters_per_batch=16,
        images_per_cluster=4,
        learning_rate=3.5e-4,
        weight_decay=5e-4,
        decay_epochs=20,
        temperature=0.05,
        memory_keep=0.1,
        fana_area=0.10,
        fana_layer="conv",
        clustering=ClusteringSettings(k1=30, k2=6, eps=0.6, min_samples=4),
        cluster_bursts=False,
        augmentation="weak",
        flip=True,
        warm_up=None,
        seed=seed,
    )


def from_bursts(method: Method, seed: int, num_crops: int, random_start: bool) -> FanclConfig:
    """Settings where bursts are known; a random start is warmed up on them first.

    Chosen on drawn worlds (docs/LOG.md), where the warm-up does most of the work.
    """
    warm_up = WarmUp(
        steps=max(400, math.ceil(8 * num_crops / 64)),
        bursts_per_batch=16,
        images_per_burst=4,
        learning_rate=1e-3,
        temperature=0.1,
    )
    return FanclConfig(
        method=method,
        epochs=6,
        iterations=max(40, math.ceil(2 * num_crops / 64)),
        clusters_per_batch=16,
        images_per_cluster=4,
        learning_rate=5e-4,
        weight_decay=5e-4,
        decay_epochs=None,
        temperature=0.05,
        memory_keep=0.1,
        fana_area=0.10,
        fana_layer="conv",
        clustering=ClusteringSettings(k1=8, k2=2, eps=0.5, min_samples=2),
        cluster_bursts=True,
        augmentation="strong",
        flip=False,
        warm_up=warm_up if random_start else None,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class Losses:
    total: Tensor
    cluster: float  # eq. 6
    consistency: float  # eq. 7


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """A row of metrics.csv."""

    epoch: int
    seconds: float
    learning_rate: float
    loss: float | None  # None where the epoch was skipped
    cluster_loss: float | None
    consistency_loss: float | None
    num_clusters: int
    num_outliers: int  # pictures
    largest_share: float
    eps: float


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    report: EpochReport
    pseudo_labels: PseudoLabels  # of pictures
    similarity_N: NDArray[np.float32]  # of each picture to its cluster's centre; nan for outliers


class Listener(Protocol):
    def on_steps(self, epoch: int, step: int, num_steps: int, loss: float) -> None: ...
    def on_trouble(self, sentence: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that stays the same from epoch to epoch."""

    networks: Networks
    optimiser: torch.optim.Optimizer
    images_NHWC: NDArray[np.uint8]
    burst_N: NDArray[np.int64]
    config: FanclConfig
    device: torch.device
    precision: Precision
    listener: Listener


def train_epochs(training: Training, first_epoch: int, num_skipped: int = 0) -> Iterator[EpochEnd]:
    """Train from `first_epoch` on, yielding after each epoch so that the caller can save.

    `num_skipped` is the number of epochs just before the first that had nothing to learn from.
    Raises FanclError when clustering collapses three epochs running.
    """
    config, listener = training.config, training.listener
    skipped = num_skipped
    for epoch in range(first_epoch, config.epochs + 1):
        began = time.monotonic()
        _set_seed(config.seed, epoch)
        rate = learning_rate(config, epoch)
        for group in training.optimiser.param_groups:
            group["lr"] = rate
        clean = training.networks.clean
        fana = Fana(clean, config.fana_area, config.fana_layer)
        views = extract(
            training.networks, fana, training.images_NHWC, training.device, training.precision
        )
        labels = pseudo_labels(views.clean_ND, training.burst_N, config)
        if labels.trouble:
            listener.on_trouble(f"epoch {epoch}: {labels.trouble}")
        losses: list[Losses] = []
        if labels.usable:
            skipped = 0
            losses = _train_one_epoch(training, fana, views, labels.label_N, epoch)
        else:
            skipped += 1
            listener.on_trouble(f"epoch {epoch}: nothing to learn from, skipped")
        yield EpochEnd(
            report=_report(epoch, time.monotonic() - began, rate, losses, labels),
            pseudo_labels=labels,
            similarity_N=_similarity_to_centre(views.clean_ND, labels.label_N),
        )
        if skipped >= _MAX_SKIPPED_EPOCHS:
            raise FanclError(
                f"clustering collapsed in {skipped} epochs running, the last time: "
                f"{labels.trouble}; pretrained weights (--weights) and --bursts on also help"
            )


def learning_rate(config: FanclConfig, epoch: int) -> float:
    """Epochs count from 1; with the paper's 20: a tenth from epoch 21, a hundredth from 41."""
    if config.decay_epochs is None:
        return config.learning_rate
    return config.learning_rate * 0.1 ** ((epoch - 1) // config.decay_epochs)


def pseudo_labels(
    clean_ND: Tensor, burst_N: NDArray[np.int64], config: FanclConfig
) -> PseudoLabels:
    """A label a picture from clustering the clean embeddings, or the means of their bursts."""
    emb_ND = clean_ND.cpu().numpy()
    if not config.cluster_bursts:
        return cluster(emb_ND, config.clustering)
    return cluster(burst_means(emb_ND, burst_N), config.clustering, burst_N)


def _train_one_epoch(
    training: Training, fana: Fana, views: Views, label_N: NDArray[np.int64], epoch: int
) -> list[Losses]:
    config, networks, device = training.config, training.networks, training.device
    memories = build_memories(views, label_N, config.memory_keep)
    chooser = np.random.default_rng([config.seed, epoch])
    rng = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    sampled = sample_batches(label_N, config.clusters_per_batch, config.images_per_cluster, chooser)
    losses: list[Losses] = []
    networks.train()
    for step in range(1, config.iterations + 1):
        rows = next(sampled)
        label_B = torch.from_numpy(label_N[rows]).to(device)
        pixels = to_pixels(torch.from_numpy(training.images_NHWC[rows]).to(device))
        clean = prepare(networks.clean, _augmented(pixels, config, rng))
        batch = forward(networks, fana, clean, device, training.precision)
        loss = fancl_loss(batch, memories, label_B, config.temperature)
        training.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        training.optimiser.step()
        memories.update(batch, label_B)
        losses.append(loss)
        training.listener.on_steps(epoch, step, config.iterations, float(loss.total.detach()))
    return losses


def fancl_loss(views: Views, memories: Memories, label_B: Tensor, temperature: float) -> Losses:
    """Eq. 10: the cluster losses of all branches (eq. 6) plus consistency (eq. 7)."""
    by_cluster = cluster_loss(views.clean_ND, memories.clean, label_B, temperature)
    consistency = torch.zeros_like(by_cluster)
    if views.noised_ND is not None and views.fused_ND is not None:
        assert memories.noised is not None
        assert memories.fused is not None
        by_cluster = (
            by_cluster
            + cluster_loss(views.noised_ND, memories.noised, label_B, temperature)
            + cluster_loss(views.fused_ND, memories.fused, label_B, temperature)
        )
        consistency = consistency_loss(views.clean_ND, views.noised_ND, memories.noised, label_B)
    return Losses(
        total=by_cluster + consistency,
        cluster=float(by_cluster.detach()),
        consistency=float(consistency.detach()),
    )


def _augmented(pixels_NCHW: Tensor, config: FanclConfig, rng: torch.Generator) -> Tensor:
    if config.augmentation == "strong":
        return augment.strong(pixels_NCHW, rng)
    return augment.weak(pixels_NCHW, rng, config.flip)


def _similarity_to_centre(clean_ND: Tensor, label_N: NDArray[np.int64]) -> NDArray[np.float32]:
    similarity = np.full(len(label_N), np.nan, np.float32)
    kept = np.flatnonzero(label_N >= 0)
    if len(kept):
        emb_KD = clean_ND.cpu()[kept]
        label_K = torch.from_numpy(label_N[kept])
        centres = ClusterMemory(emb_KD, label_K, keep=1.0).centres_MD
        similarity[kept] = (emb_KD * centres[label_K]).sum(dim=1).numpy()
    return similarity


def _report(
    epoch: int, seconds: float, rate: float, losses: list[Losses], labels: PseudoLabels
) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        seconds=round(seconds, 2),
        learning_rate=rate,
        loss=float(np.mean([one.cluster + one.consistency for one in losses])) if losses else None,
        cluster_loss=float(np.mean([one.cluster for one in losses])) if losses else None,
        consistency_loss=float(np.mean([one.consistency for one in losses])) if losses else None,
        num_clusters=labels.num_clusters,
        num_outliers=labels.num_outliers,
        largest_share=labels.largest_share,
        eps=labels.eps,
    )


def _set_seed(seed: int, epoch: int) -> None:
    """Each epoch starts from its own seed, so a resumed run goes on as it would have."""
    torch.manual_seed(seed * 100_003 + epoch)
