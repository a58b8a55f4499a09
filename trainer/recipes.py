"""Starting points for a run: the paper's settings, and those that pay off on small budgets."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from trainer.settings import (
    AugmentSettings,
    BatchSettings,
    ClusteringSettings,
    FanaSettings,
    FanclConfig,
    KeptSettings,
    LossSettings,
    MemorySettings,
    Method,
    ScheduleSettings,
    WarmUpSettings,
)

Recipe = Literal["auto", "paper"]
_AS_TRAINED = KeptSettings(start_share=0.0, whitening=None)
_NO_WARM_UP = WarmUpSettings(steps=0, bursts=16, images=4, learning_rate=1e-3, temperature=0.1)


def choose(
    recipe: Recipe, method: Method, seed: int, num_crops: int, bursts: bool, random_start: bool
) -> FanclConfig:
    """The settings of a run before the user's own changes.

    `bursts`: they are known and wanted; `random_start`: there are no pretrained weights.
    """
    if recipe == "paper":
        return paper(method, seed, num_crops)
    if bursts and random_start:
        return from_scratch(method, seed, num_crops)
    if bursts:
        return from_bursts(method, seed, num_crops)
    chosen = from_pictures(method, seed, num_crops)
    if random_start:  # nothing in it is worth keeping
        chosen = dataclasses.replace(chosen, kept=dataclasses.replace(chosen.kept, start_share=0.0))
    return chosen


def paper(method: Method, seed: int, num_crops: int) -> FanclConfig:
    """FANCL as in the paper (IV-A), or Cluster Contrast as its released program runs it.

    What FANCL's paper does not say is the base code's. It names no number of iterations: four
    passes over the crops, as the base code's 200 batches of 256 are on its data.
    """
    base = method == "cluster-contrast"
    batch = BatchSettings(clusters=16, images=16 if base else 4, spread_bursts=False)
    return FanclConfig(
        method=method,
        seed=seed,
        schedule=ScheduleSettings(
            epochs=50 if base else 60,
            iterations=max(50, math.ceil(4 * num_crops / batch.size)),
            learning_rate=3.5e-4,
            weight_decay=5e-4,
            decay_epochs=20,
            cosine=False,
            freeze_statistics=False,
        ),
        batch=batch,
        augment=AugmentSettings(kind="weak", flip=True, erasing=base),
        fana=_fana(method),
        clustering=ClusteringSettings(
            k1=30, k2=6, eps=0.6, min_samples=4, unit="pictures", flip_average=False
        ),
        memory=MemorySettings(keep=0.1, update="instance"),
        loss=_loss(method),
        kept=_AS_TRAINED,
        warm_up=_NO_WARM_UP,
    )


def from_pictures(method: Method, seed: int, num_crops: int) -> FanclConfig:
    """Pretrained weights, a small collection, a small budget. Chosen on real cows (docs/LOG.md).

    Few epochs along a half cosine, light augmentation, a higher temperature, eps chosen without
    labels, half of the starting weights kept, whitened within clusters.
    """
    base = paper("fancl", seed, num_crops)
    k1 = min(max(num_crops // 20, 8), base.clustering.k1)  # few pictures: few of each animal
    return dataclasses.replace(
        base,
        method=method,
        schedule=dataclasses.replace(
            base.schedule,
            epochs=10,
            iterations=_passes(1, num_crops),
            learning_rate=7e-4,  # the paper's in the mean over a half cosine
            decay_epochs=None,
            cosine=True,
        ),
        augment=AugmentSettings(kind="light", flip=True, erasing=False),
        clustering=dataclasses.replace(base.clustering, k1=k1, k2=max(k1 // 5, 2), eps=None),
        fana=_fana(method),
        loss=dataclasses.replace(_loss(method), temperature=0.15),
        kept=KeptSettings(start_share=0.5, whitening=0.8),
    )


def from_bursts(method: Method, seed: int, num_crops: int) -> FanclConfig:
    """Pretrained weights and known bursts: their means are clustered, batches mix a cluster's.

    Strong augmentation and no mirroring: flanks differ. Chosen on real cows (docs/LOG.md).
    """
    base = from_pictures(method, seed, num_crops)
    return dataclasses.replace(
        base,
        batch=dataclasses.replace(base.batch, spread_bursts=True),
        augment=AugmentSettings(kind="strong", flip=False, erasing=False),
        clustering=ClusteringSettings(
            k1=8, k2=2, eps=None, min_samples=2, unit="bursts", flip_average=False
        ),
        kept=dataclasses.replace(base.kept, start_share=0.3),  # bursts mislead less
    )


def from_scratch(method: Method, seed: int, num_crops: int) -> FanclConfig:
    """Random weights and known bursts: the encoder is warmed up on them first.

    Chosen on drawn worlds (docs/LOG.md), where the warm-up does most of the work.
    """
    base = from_bursts(method, seed, num_crops)
    return dataclasses.replace(
        base,
        schedule=ScheduleSettings(
            epochs=6,
            iterations=max(40, _passes(2, num_crops)),
            learning_rate=5e-4,
            weight_decay=5e-4,
            decay_epochs=None,
            cosine=False,
            freeze_statistics=False,
        ),
        batch=dataclasses.replace(base.batch, spread_bursts=False),
        clustering=dataclasses.replace(base.clustering, eps=0.5),
        loss=_loss(method),
        kept=_AS_TRAINED,
        warm_up=dataclasses.replace(_NO_WARM_UP, steps=max(400, _passes(8, num_crops))),
    )


def _passes(count: int, num_crops: int) -> int:
    """Steps of 64 in so many passes over the crops."""
    return math.ceil(count * num_crops / 64)


def _fana(method: Method) -> FanaSettings:
    return FanaSettings(
        area=0.10 if method == "fancl" else 0.0,
        layer="conv",
        reduction="mean",
        mode="pixels",
        fill="black",
        density=1.0,
        refresh="epoch",
    )


def _loss(method: Method) -> LossSettings:
    both = method == "fancl"
    return LossSettings(
        temperature=0.05,
        noised=both,
        fused=both,
        consistency_cluster=both,
        consistency_instance=both,
        detach_noised=False,
        fusion_start="random",
    )
