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
from torch import Tensor, nn

from edge.errors import FanclError
from trainer import augment
from trainer.bursts import WarmUp, burst_means
from trainer.clustering import ClusteringSettings, PseudoLabels, cluster
from trainer.encoder import Encoder, Precision, autocast, batches, to_pixels, twin, unit
from trainer.fana import Fana, FanaLayer
from trainer.memory import ClusterMemory, cluster_loss, consistency_loss

Method = Literal["fancl", "cluster-contrast"]
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


class Networks(nn.Module):
    """f (clean), f' (noised) and the fusion layer; the last two are absent in Cluster Contrast."""

    def __init__(self, clean: Encoder, method: Method) -> None:
        super().__init__()
        self.clean = clean
        self.noised = twin(clean) if method == "fancl" else None
        self.fusion = (
            nn.Linear(2 * clean.embedding_dim, clean.embedding_dim) if method == "fancl" else None
        )

    def fuse(self, clean_ND: Tensor, noised_ND: Tensor) -> Tensor:
        assert self.fusion is not None
        return unit(self.fusion(torch.cat([clean_ND, noised_ND], dim=1)))


@dataclass(frozen=True, kw_only=True)
class Views:
    """The embeddings of one set of pictures in each branch; None where there is no branch."""

    clean_ND: Tensor
    noised_ND: Tensor | None
    fused_ND: Tensor | None


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


def train_epochs(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    images_NHWC: NDArray[np.uint8],
    burst_N: NDArray[np.int64],
    config: FanclConfig,
    first_epoch: int,
    device: torch.device,
    precision: Precision,
    listener: Listener,
) -> Iterator[EpochEnd]:
    """Train from `first_epoch` on, yielding after each epoch so that the caller can save.

    Raises FanclError when clustering collapses three epochs running.
    """
    skipped = 0
    for epoch in range(first_epoch, config.epochs + 1):
        began = time.monotonic()
        _set_seed(config.seed, epoch)
        rate = learning_rate(config, epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        fana = Fana(networks.clean, config.fana_area, config.fana_layer)
        views = extract(networks, fana, images_NHWC, device, precision)
        labels = pseudo_labels(views.clean_ND, burst_N, config)
        if labels.trouble:
            listener.on_trouble(f"epoch {epoch}: {labels.trouble}")
        losses: list[Losses] = []
        if labels.usable:
            skipped = 0
            losses = _train_one_epoch(
                networks, optimiser, fana, views, labels.label_N, images_NHWC, config, epoch,
                device, precision, listener,
            )  # fmt: skip
        else:
            skipped += 1
            listener.on_trouble(f"epoch {epoch}: nothing to learn from, skipped")
        yield EpochEnd(
            report=_report(epoch, time.monotonic() - began, rate, losses, labels),
            pseudo_labels=labels,
            similarity_N=_similarity_to_centre(views.clean_ND, labels.label_N),
        )
        if skipped == _MAX_SKIPPED_EPOCHS:
            raise FanclError(
                f"clustering collapsed in {skipped} epochs running ({labels.trouble}); "
                "pretrained weights (--weights) also help"
            )


def learning_rate(config: FanclConfig, epoch: int) -> float:
    """Epochs count from 1; with the paper's 20: a tenth from epoch 21, a hundredth from 41."""
    if config.decay_epochs is None:
        return config.learning_rate
    return config.learning_rate * 0.1 ** ((epoch - 1) // config.decay_epochs)


@torch.no_grad()
def extract(
    networks: Networks,
    fana: Fana,
    images_NHWC: NDArray[np.uint8],
    device: torch.device,
    precision: Precision,
) -> Views:
    """All pictures through all branches in eval mode, without augmentation."""
    networks.eval()
    parts: list[Views] = []
    for images in batches(images_NHWC, device):
        clean = _prepare(networks.clean, to_pixels(images))
        parts.append(_forward(networks, fana, clean, device, precision))
    return Views(
        clean_ND=torch.cat([part.clean_ND for part in parts]),
        noised_ND=_cat([part.noised_ND for part in parts]),
        fused_ND=_cat([part.fused_ND for part in parts]),
    )


def pseudo_labels(
    clean_ND: Tensor, burst_N: NDArray[np.int64], config: FanclConfig
) -> PseudoLabels:
    """A label a picture from clustering the clean embeddings, or the means of their bursts."""
    emb_ND = clean_ND.cpu().numpy()
    if not config.cluster_bursts:
        return cluster(emb_ND, config.clustering)
    by_burst = cluster(burst_means(emb_ND, burst_N), config.clustering)
    label_B = _keep_lone_bursts(by_burst.label_N, np.bincount(burst_N))
    return PseudoLabels(label_N=label_B[burst_N], eps=by_burst.eps, trouble=by_burst.trouble)


def _keep_lone_bursts(label_B: NDArray[np.int64], size_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """A burst that joined no cluster is one of its own, if it has two frames to compare."""
    kept = label_B.copy()
    alone = np.flatnonzero((label_B < 0) & (size_B > 1))
    kept[alone] = int(label_B.max(initial=-1)) + 1 + np.arange(len(alone))
    return kept


def _train_one_epoch(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    fana: Fana,
    views: Views,
    label_N: NDArray[np.int64],
    images_NHWC: NDArray[np.uint8],
    config: FanclConfig,
    epoch: int,
    device: torch.device,
    precision: Precision,
    listener: Listener,
) -> list[Losses]:
    memories = build_memories(views, label_N, config.memory_keep)
    chooser = np.random.default_rng([config.seed, epoch])
    rng = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    sampled = sample_batches(label_N, config, chooser)
    losses: list[Losses] = []
    networks.train()
    for step in range(1, config.iterations + 1):
        rows = next(sampled)
        label_B = torch.from_numpy(label_N[rows]).to(device)
        pixels = to_pixels(torch.from_numpy(images_NHWC[rows]).to(device))
        clean = _prepare(networks.clean, _augmented(pixels, config, rng))
        batch = _forward(networks, fana, clean, device, precision)
        loss = fancl_loss(batch, memories, label_B, config.temperature)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()
        memories.update(batch, label_B)
        losses.append(loss)
        listener.on_steps(epoch, step, config.iterations, float(loss.total.detach()))
    return losses


@dataclass(frozen=True, kw_only=True)
class Memories:
    clean: ClusterMemory
    noised: ClusterMemory | None
    fused: ClusterMemory | None

    def update(self, views: Views, label_B: Tensor) -> None:
        self.clean.update(views.clean_ND.detach(), label_B)
        for memory, emb_ND in ((self.noised, views.noised_ND), (self.fused, views.fused_ND)):
            if memory is not None and emb_ND is not None:
                memory.update(emb_ND.detach(), label_B)


def build_memories(views: Views, label_N: NDArray[np.int64], keep: float) -> Memories:
    """Eq. 8 in each branch; outliers are left out."""
    kept = torch.from_numpy(np.flatnonzero(label_N >= 0)).to(views.clean_ND.device)
    label_K = torch.from_numpy(label_N[label_N >= 0]).to(views.clean_ND.device)

    def memory(emb_ND: Tensor | None) -> ClusterMemory | None:
        return None if emb_ND is None else ClusterMemory(emb_ND[kept], label_K, keep)

    clean = ClusterMemory(views.clean_ND[kept], label_K, keep)
    return Memories(clean=clean, noised=memory(views.noised_ND), fused=memory(views.fused_ND))


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


def sample_batches(
    label_N: NDArray[np.int64], config: FanclConfig, chooser: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Endless batches of P clusters x K pictures, clusters in random order.

    A cluster with fewer than K pictures gives some more than once; with fewer than P clusters
    they come round again until the batch is full.
    """
    members = [np.flatnonzero(label_N == label) for label in range(int(label_N.max()) + 1)]
    waiting: list[NDArray[np.int64]] = []
    while True:
        for label in chooser.permutation(len(members)):
            shuffled = chooser.permutation(members[label])
            waiting.append(np.resize(shuffled, config.images_per_cluster))
            if len(waiting) == config.clusters_per_batch:
                yield np.concatenate(waiting)
                waiting = []


def _augmented(pixels_NCHW: Tensor, config: FanclConfig, rng: torch.Generator) -> Tensor:
    if config.augmentation == "strong":
        return augment.strong(pixels_NCHW, rng)
    return augment.weak(pixels_NCHW, rng, config.flip)


def _prepare(encoder: Encoder, pixels_NCHW: Tensor) -> Tensor:
    return encoder.normalise(pixels_NCHW).contiguous(memory_format=torch.channels_last)


def _forward(
    networks: Networks, fana: Fana, clean_NCHW: Tensor, device: torch.device, precision: Precision
) -> Views:
    """The three views of prepared pictures; the noise falls on the same (augmented) geometry."""
    with autocast(device, precision):
        clean_ND = networks.clean(clean_NCHW)
        if networks.noised is None:
            return Views(clean_ND=clean_ND.float(), noised_ND=None, fused_ND=None)
        noised_ND = networks.noised(fana(clean_NCHW))
    clean_ND, noised_ND = clean_ND.float(), noised_ND.float()
    return Views(
        clean_ND=clean_ND, noised_ND=noised_ND, fused_ND=networks.fuse(clean_ND, noised_ND)
    )


def _cat(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


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
