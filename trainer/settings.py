"""All settings of a FANCL run: one frozen tree, each with its meaning and its source.

The sources: "paper" is arXiv 2405.00468; "base code" is Cluster Contrast's released program,
whose habits the paper inherits; "ours" is a choice of this project, where both are silent or
where something beyond the paper is switched on. `recipes.py` gives the starting points.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from edge.errors import InputError

Method = Literal["fancl", "cluster-contrast"]
LABEL_FREE: tuple[str, ...] = get_args(Method)


def setting(about: str, source: str) -> Any:
    return dataclasses.field(metadata={"about": about, "source": source})


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    epochs: int = setting("epochs", "60 in the paper, 50 in the base code")
    iterations: int = setting(
        "steps an epoch", "the paper names none; the base code's make four passes over its data"
    )
    learning_rate: float = setting("of Adam", "paper: 3.5e-4")
    weight_decay: float = setting("of Adam", "paper: 5e-4")
    decay_epochs: int | None = setting(
        "the rate falls to a tenth every so many epochs; none: never", "paper: 20"
    )
    cosine: bool = setting("the rate also falls along a half cosine over the run", "ours")
    freeze_statistics: bool = setting("the backbone's BN keeps its running statistics", "ours")


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    clusters: int = setting("P of a batch of P x K", "paper: P x K = 64; P 16 in the base code")
    images: int = setting("K", "base code of related methods: 4; Cluster Contrast's own run: 16")
    spread_bursts: bool = setting("a cluster's K pictures come from K of its bursts", "ours")

    @property
    def size(self) -> int:
        return self.clusters * self.images


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    kind: Literal["weak", "light", "strong"] = setting(
        "weak: pad 10 pixels and crop; light: also relight and cover; strong: also turn, scale, "
        "grey, blur",
        "weak in the paper, the others are ours",
    )
    flip: bool = setting("half of the pictures are mirrored", "paper: on")
    erasing: bool = setting(
        "half of the pictures lose a rectangle of 2 to 40 % to their mean colour",
        "base code; absent from the paper's list",
    )


@dataclass(frozen=True, kw_only=True)
class FanaSettings:
    area: float = setting("p, share of the pixels that noise covers", "paper: 0.05 and 0.10")
    layer: str = setting(
        "whose activation is the map: conv or bn of the stem, or a layer's path in the backbone",
        "paper tries a convolution and a BN, and names neither",
    )
    reduction: Literal["mean", "max", "l2"] = setting("of the channels to one map", "ours")
    mode: Literal["pixels", "rects"] = setting(
        "noise on the selected pixels, or on small rectangles around some of them",
        "pixels by eq. 3; rects by the words 'random erasing'",
    )
    fill: Literal["black", "mean"] = setting(
        "colour of a noised pixel before normalisation", "paper: value 0, taken as black"
    )
    density: float = setting("share of the selected pixels that are noised", "1 by eq. 3")
    refresh: Literal["epoch", "step"] = setting(
        "whether the map comes from the weights at the epoch's start or of now",
        "paper: noise is made as the epoch starts",
    )


@dataclass(frozen=True, kw_only=True)
class ClusteringSettings:
    k1: int = setting("neighbours for reciprocity", "base code: 30")
    k2: int = setting("neighbours for query expansion; 1: none", "base code: 6")
    eps: float | None = setting(
        "radius of DBSCAN; auto: chosen each epoch without labels", "base code: 0.6; auto is ours"
    )
    min_samples: int = setting("of DBSCAN", "base code: 4")
    unit: Literal["pictures", "bursts"] = setting(
        "what is clustered: pictures, or the mean embeddings of bursts", "bursts is ours"
    )
    flip_average: bool = setting(
        "cluster the mean embedding of a picture and its mirror image", "ours"
    )


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    keep: float = setting("alpha of eq. 9, share of the old centre that stays", "paper: 0.1")
    update: Literal["instance", "hard", "batch-mean"] = setting(
        "each picture in turn, only a cluster's least similar one, or the mean of its pictures",
        "eq. 9: instance; hard is an option of the base code",
    )


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    temperature: float = setting("tau of eq. 4", "paper: 0.05")
    noised: bool = setting("the cluster loss of the noised branch (eq. 6)", "paper: on")
    fused: bool = setting("the cluster loss of the fused view (eq. 6)", "paper: on")
    consistency_cluster: bool = setting("first term of eq. 7", "paper: on")
    consistency_instance: bool = setting("second term of eq. 7", "paper: on")
    detach_noised: bool = setting("no gradient from eq. 7 into the noised branch", "ours: off")
    fusion_start: Literal["random", "average"] = setting(
        "weights of the fusion layer: random, or the mean of both branches", "paper silent: random"
    )

    @property
    def needs_noised_branch(self) -> bool:
        return self.noised or self.fused or self.consistency_cluster or self.consistency_instance


@dataclass(frozen=True, kw_only=True)
class KeptSettings:
    start_share: float = setting(
        "share of the starting weights in the encoder that clusters and is kept; 0: none",
        "ours, after Wortsman et al. 2022",
    )
    whitening: float | None = setting(
        "shrinkage of the whitening within clusters that ends the kept encoder; none: without",
        "ours, after Hatch et al. 2006",
    )


@dataclass(frozen=True, kw_only=True)
class WarmUpSettings:
    steps: int = setting("steps before the first clustering; 0: none", "ours")
    bursts: int = setting("bursts in a batch, all of one scene", "ours")
    images: int = setting("pictures of a burst in a batch", "ours")
    learning_rate: float = setting("of Adam, falling along a half cosine", "ours")
    temperature: float = setting("of the contrast between bursts", "ours")


@dataclass(frozen=True, kw_only=True)
class FanclConfig:
    method: Method
    seed: int
    schedule: ScheduleSettings
    batch: BatchSettings
    augment: AugmentSettings
    fana: FanaSettings
    clustering: ClusteringSettings
    memory: MemorySettings
    loss: LossSettings
    kept: KeptSettings  # beyond the paper
    warm_up: WarmUpSettings  # beyond the paper; on bursts


def check(config: FanclConfig) -> None:
    """Raises InputError for values that cannot work, or that contradict each other."""
    problems = [
        (config.batch.clusters < 2, "batch.clusters must be 2 or more"),
        (config.batch.images < 1, "batch.images must be 1 or more"),
        (config.schedule.epochs < 1, "--epochs must be 1 or more"),
        (config.schedule.iterations < 1, "--iterations must be 1 or more"),
        (config.schedule.learning_rate <= 0, "--learning-rate must be above 0"),
        (config.schedule.weight_decay < 0, "schedule.weight_decay must be 0 or more"),
        ((config.schedule.decay_epochs or 1) < 1, "schedule.decay_epochs must be 1 or more"),
        (not 0 <= config.kept.start_share < 1, "kept.start_share must be 0 to below 1"),
        (
            config.kept.whitening is not None and not 0 < config.kept.whitening <= 1,
            "kept.whitening must be above 0 and at most 1, or none",
        ),
        (not 0 <= config.fana.area <= 1, "fana.area must lie in 0 to 1"),
        (not 0 <= config.fana.density <= 1, "fana.density must lie in 0 to 1"),
        (config.clustering.k1 < 2, "clustering.k1 must be 2 or more"),
        (config.clustering.k2 < 1, "clustering.k2 must be 1 or more"),
        (config.clustering.min_samples < 1, "clustering.min_samples must be 1 or more"),
        (
            config.clustering.eps is not None and not 0 < config.clustering.eps < 0.95,
            "clustering.eps must lie between 0 and 0.95, or be auto",
        ),
        (not 0 <= config.memory.keep < 1, "memory.keep must be 0 or more and below 1"),
        (config.loss.temperature <= 0, "loss.temperature must be above 0"),
        (
            config.method == "cluster-contrast" and config.loss.needs_noised_branch,
            "cluster-contrast has no noised branch: leave loss.noised, loss.fused and "
            "loss.consistency_* off, or use --method fancl",
        ),
    ]
    for wrong, sentence in problems:
        if wrong:
            raise InputError(sentence)
