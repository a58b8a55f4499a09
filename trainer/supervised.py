"""The supervised reference: the same encoder trained with identity labels.

Cross-entropy over identities with label smoothing on cosine logits, as they are or with ArcFace's
angular margin (Deng et al. 2019), plus a batch-hard triplet loss (Hermans et al. 2017): the habit
of the field. FANCL's paper compares with supervised
training and gives no recipe, so this one is ours. It tells how far label-free training falls short.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.augment import augmented
from trainer.encoder import Encoder, Precision, autocast, to_pixels, unit
from trainer.fancl import Listener
from trainer.optimiser import begin_epoch, seed_of
from trainer.pixels import Pixels
from trainer.recipes import from_pictures
from trainer.sampler import sample_batches
from trainer.settings import AugmentSettings, BatchSettings, ScheduleSettings
from trainer.triplet import batch_hard, unit_distances
from trainer.views import prepare

_TELL_EVERY = 10
_ARC_MARGIN = 0.5  # Deng et al. 2019


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    method: str
    seed: int
    schedule: ScheduleSettings
    batch: BatchSettings
    augment: AugmentSettings
    arc_margin: float  # radians that an own identity's angle is made worse by; 0: no ArcFace
    temperature: float  # of the cosine logits
    label_smoothing: float
    margin: float  # of the triplet loss, in Euclidean distance of unit vectors


def default_config(seed: int, num_crops: int, arcface: bool = False) -> SupervisedConfig:
    """Ours: schedule, batches, augmentation and temperature of the label-free methods."""
    base = from_pictures("fancl", seed, num_crops)
    return SupervisedConfig(
        method="supervised",
        seed=seed,
        schedule=base.schedule,
        batch=base.batch,
        augment=base.augment,
        arc_margin=_ARC_MARGIN if arcface else 0.0,
        temperature=base.loss.temperature,
        label_smoothing=0.1,
        margin=0.3,
    )


@dataclass(frozen=True, kw_only=True)
class SupervisedReport:
    """What training knows of an epoch, for a row of metrics.csv."""

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    identity_loss: float
    triplet_loss: float


@dataclass(frozen=True, kw_only=True)
class SupervisedEnd:
    report: SupervisedReport
    step_losses: tuple[float, ...]


class Classifier(nn.Module):
    """An encoder and one unit vector an identity."""

    def __init__(self, encoder: Encoder, num_identities: int) -> None:
        super().__init__()
        self.clean = encoder
        self.proxies = nn.Linear(encoder.embedding_dim, num_identities, bias=False)

    def logits(
        self, emb_BD: Tensor, label_B: Tensor, arc_margin: float, temperature: float
    ) -> Tensor:
        """Cosines to the identities, the own one's with its margin, divided by the temperature."""
        cosine_BI = emb_BD @ unit(self.proxies.weight).T
        if arc_margin:
            cosine_BI = with_angular_margin(cosine_BI, label_B, arc_margin)
        return cosine_BI / temperature


def with_angular_margin(cosine_BI: Tensor, label_B: Tensor, margin: float) -> Tensor:
    """cos(angle + margin) in place of the own identity's cosine.

    Where angle and margin exceed a half-turn the cosine would rise again: a straight line goes on
    from there instead.
    """
    own_B1 = cosine_BI.gather(1, label_B[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    worse_B1 = torch.cos(torch.acos(own_B1) + margin)
    beyond_B1 = own_B1 < math.cos(math.pi - margin)
    line_B1 = own_B1 - math.sin(margin) * margin
    return cosine_BI.scatter(1, label_B[:, None], torch.where(beyond_B1, line_B1, worse_B1))


@dataclass(frozen=True, kw_only=True)
class SupervisedTraining:
    """Everything that stays the same from epoch to epoch."""

    networks: Classifier
    optimiser: torch.optim.Optimizer
    pixels: Pixels
    label_N: NDArray[np.int64]
    config: SupervisedConfig
    precision: Precision
    listener: Listener


def train_epochs(training: SupervisedTraining, first_epoch: int) -> Iterator[SupervisedEnd]:
    """Train from `first_epoch` on, yielding after each epoch so that the caller can save."""
    config = training.config
    for epoch in range(first_epoch, config.schedule.epochs + 1):
        began = time.monotonic()
        rate = begin_epoch(training.optimiser, config.schedule, config.seed, epoch)
        parts_S2 = _train_one_epoch(training, epoch)
        by_identity, by_triplet = parts_S2.mean(dim=0).tolist()
        yield SupervisedEnd(
            report=SupervisedReport(
                epoch=epoch,
                seconds=round(time.monotonic() - began, 2),
                learning_rate=rate,
                loss=by_identity + by_triplet,
                identity_loss=by_identity,
                triplet_loss=by_triplet,
            ),
            step_losses=tuple(parts_S2.sum(dim=1).tolist()),
        )


def _train_one_epoch(training: SupervisedTraining, epoch: int) -> Tensor:
    """Both losses of every step [S, 2], on the CPU."""
    config, networks = training.config, training.networks
    device = training.pixels.device
    rng = torch.Generator(device).manual_seed(seed_of(config.seed, epoch))
    chooser = np.random.default_rng([config.seed, epoch])
    alone_N = np.arange(len(training.label_N))  # bursts do not matter here
    sampled = sample_batches(training.label_N, alone_N, config.batch, chooser)
    parts = []
    networks.train()
    for step in range(1, config.schedule.iterations + 1):
        rows = next(sampled)
        label_B = torch.from_numpy(training.label_N[rows]).to(device)
        pixels = to_pixels(training.pixels.rows(rows))
        pixels = augmented(pixels, config.augment, rng, networks.clean.mean)
        with autocast(device, training.precision):
            emb_BD = networks.clean(prepare(networks.clean, pixels))
        by_identity = nn.functional.cross_entropy(
            networks.logits(emb_BD, label_B, config.arc_margin, config.temperature),
            label_B,
            label_smoothing=config.label_smoothing,
        )
        by_triplet = batch_hard(unit_distances(emb_BD), label_B, config.margin)
        training.optimiser.zero_grad(set_to_none=True)
        (by_identity + by_triplet).backward()
        training.optimiser.step()
        parts.append(torch.stack([by_identity.detach(), by_triplet.detach()]))
        if step % _TELL_EVERY == 0 or step == config.schedule.iterations:
            loss = float(parts[-1].sum())
            training.listener.on_steps(epoch, step, config.schedule.iterations, loss)
    return torch.stack(parts).cpu()
