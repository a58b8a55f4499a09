"""Both stages of IndivAID: descriptions learnt for a frozen CLIP, then its image tower for them.

Stage 1 trains the generator alone, on image features made once. Between the stages every training
picture gets its description. Stage 2 trains the image tower and its heads against these texts; the
generator and the text tower stay as they are, and neither is needed on a device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.augment import cover, weak
from trainer.clip.losses import description_loss, description_metrics
from trainer.clip.merging import Bank, mean_texts, static_texts
from trainer.clip.networks import Networks, Stage2Losses, stage2_loss, text_logits
from trainer.clip.prompts import Prompt
from trainer.clip.sampler import epoch_batches
from trainer.clip.schedule import stage1_rate, stage2_rate
from trainer.clip.settings import IndivaidConfig, MergeSettings
from trainer.clip.text import TextTower
from trainer.clip.towers import ImageFeatures, tower_in
from trainer.encoder import Encoder, Precision, autocast, to_pixels
from trainer.fancl import Listener
from trainer.optimiser import seed_of
from trainer.pixels import Pixels
from trainer.views import prepare

_TELL_EVERY = 10
_TEXT_BATCH = 128
_MAX_MEASURED = 1000  # pictures that tell how well descriptions fit; the rest would tell the same
_LARGEST_ERASED = 0.33  # of a picture


@dataclass(frozen=True, kw_only=True)
class ClipReport:
    """What training knows of an epoch, for a row of metrics.csv; None where a stage has no such."""

    epoch: int
    stage: int
    seconds: float
    learning_rate: float
    loss: float
    identity_loss: float | None
    triplet_loss: float | None
    text_loss: float | None
    description_cosine: float | None  # of pictures to their own descriptions
    description_top1: float | None  # pictures nearest to their own identity's text


@dataclass(frozen=True, kw_only=True)
class ClipEnd:
    report: ClipReport
    step_losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ClipTraining:
    """Everything that stays the same from epoch to epoch."""

    encoder: Encoder  # its backbone holds the tower that trains
    start: Encoder  # before training: what descriptions are made for
    networks: Networks
    text: TextTower
    prompt: Prompt | None  # None where the method has no descriptions
    optimiser: torch.optim.Optimizer
    pixels: Pixels
    label_N: NDArray[np.int64]
    num_identities: int
    config: IndivaidConfig
    precision: Precision
    listener: Listener


def train_stages(training: ClipTraining, first_epoch: int) -> Iterator[ClipEnd]:
    """Train from `first_epoch` on, counted over both stages; yields after each for saving."""
    config = training.config
    stage1_epochs = config.stage1.epochs
    projected_ND: Tensor | None = None
    if training.networks.generator is not None:
        projected_ND = projected_features(training.start, training.pixels, training.precision)
    for epoch in range(first_epoch, stage1_epochs + 1):
        assert projected_ND is not None
        yield _stage1_epoch(training, projected_ND, epoch)
    bank, texts_ID = None, None
    if projected_ND is not None and config.stage2.text_weight:
        bank = describe(training, projected_ND)
        texts_ID = fixed_texts(bank, projected_ND, config.merge)
    for epoch in range(max(first_epoch, stage1_epochs + 1), config.schedule.epochs + 1):
        yield _stage2_epoch(training, bank, texts_ID, epoch)


@torch.no_grad()
def projected_features(encoder: Encoder, pixels: Pixels, precision: Precision) -> Tensor:
    """v of all crops [N, D], in eval mode and without augmentation; float32."""
    tower = tower_in(encoder.eval())
    parts = []
    for images in pixels.batches():
        prepared = prepare(encoder, to_pixels(images))
        with autocast(prepared.device, precision):
            features: ImageFeatures = tower(prepared)
        parts.append(features.projected_ND.float())
    return torch.cat(parts)


@torch.no_grad()
def describe(training: ClipTraining, projected_ND: Tensor) -> Bank:
    """The description of every training crop, by the generator as stage 1 has left it."""
    label_N = torch.from_numpy(training.label_N).to(projected_ND.device)
    parts = [
        _descriptions(training, label_N[rows], projected_ND[rows])
        for rows in torch.arange(len(label_N), device=label_N.device).split(_TEXT_BATCH)
    ]
    return Bank(text_ND=torch.cat(parts), label_N=label_N, num_identities=training.num_identities)


def fixed_texts(bank: Bank, projected_ND: Tensor, settings: MergeSettings) -> Tensor | None:
    """One text an identity [I, D]; None where attention makes them for each picture."""
    if settings.kind == "mean":
        return mean_texts(bank)
    if settings.kind == "attention-static":
        return static_texts(bank, projected_ND, settings.temperature)
    return None


def _descriptions(training: ClipTraining, label_B: Tensor, projected_BD: Tensor) -> Tensor:
    assert training.networks.generator is not None
    assert training.prompt is not None
    with autocast(label_B.device, training.precision):
        sentences_BLW = training.networks.generator(label_B, projected_BD)
        text_BD = training.text(sentences_BLW, training.prompt.end)
    return text_BD.float()


def _stage1_epoch(training: ClipTraining, projected_ND: Tensor, epoch: int) -> ClipEnd:
    config, settings = training.config, training.config.stage1
    began = time.monotonic()
    rate = stage1_rate(settings, epoch)
    _set_rate(training, rate, config.stage2.bias_factor)
    torch.manual_seed(seed_of(config.seed, epoch))
    training.networks.eval()  # both towers are frozen; only the generator gets gradients
    label_N = torch.from_numpy(training.label_N).to(projected_ND.device)
    losses: list[Tensor] = []
    batches = [
        rows
        for rows in torch.randperm(len(label_N)).to(label_N.device).split(settings.batch)
        if len(rows) > 1 or settings.loss != "supcon"  # one picture has nothing to stand out from
    ]
    for step, rows in enumerate(batches, start=1):
        text_BD = _descriptions(training, label_N[rows], projected_ND[rows])
        loss = description_loss(
            settings.loss, projected_ND[rows], text_BD, label_N[rows], settings.temperature
        )
        training.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        training.optimiser.step()
        losses.append(loss.detach())
        _tell(training, epoch, step, len(batches), losses[-1])
    cosine, top1 = _measure(training, projected_ND, label_N)
    return ClipEnd(
        report=ClipReport(
            epoch=epoch,
            stage=1,
            seconds=round(time.monotonic() - began, 2),
            learning_rate=rate,
            loss=float(torch.stack(losses).mean()),
            identity_loss=None,
            triplet_loss=None,
            text_loss=None,
            description_cosine=cosine,
            description_top1=top1,
        ),
        step_losses=tuple(torch.stack(losses).tolist()),
    )


@torch.no_grad()
def _measure(training: ClipTraining, projected_ND: Tensor, label_N: Tensor) -> tuple[float, float]:
    """How well descriptions fit, over the same crops each time."""
    chosen = np.random.default_rng(0).permutation(len(label_N))[:_MAX_MEASURED]
    rows = torch.from_numpy(np.sort(chosen)).to(label_N.device)
    parts = [
        _descriptions(training, label_N[part], projected_ND[part])
        for part in rows.split(_TEXT_BATCH)
    ]
    present, label_K = label_N[rows].unique(return_inverse=True)
    bank = Bank(text_ND=torch.cat(parts), label_N=label_K, num_identities=len(present))
    return description_metrics(projected_ND[rows], bank.text_ND, label_K, mean_texts(bank))


def _stage2_epoch(
    training: ClipTraining, bank: Bank | None, texts_ID: Tensor | None, epoch: int
) -> ClipEnd:
    config, settings = training.config, training.config.stage2
    began = time.monotonic()
    rate = stage2_rate(settings, epoch - config.stage1.epochs)
    _set_rate(training, rate, settings.bias_factor)
    torch.manual_seed(seed_of(config.seed, epoch))
    device = training.pixels.device
    rng = torch.Generator(device).manual_seed(seed_of(config.seed, epoch))
    chooser = np.random.default_rng([config.seed, epoch])
    batches = epoch_batches(training.label_N, settings.identities, settings.images, chooser)
    networks = training.networks
    networks.train()
    found: list[Stage2Losses] = []
    for step, rows in enumerate(batches, start=1):
        label_B = torch.from_numpy(training.label_N[rows]).to(device)
        pixels = weak(to_pixels(training.pixels.rows(rows)), rng, settings.flip)
        images = prepare(training.encoder, pixels)
        if settings.erasing:
            noise = torch.randn(images.shape, generator=rng, device=device)
            images = cover(images, rng, _LARGEST_ERASED, noise)
        with autocast(device, training.precision):
            features = networks.tower(images.contiguous(memory_format=torch.channels_last))
        features = _in_fp32(features)
        logits_BI = None
        if bank is not None:
            logits_BI = text_logits(features.projected_ND, networks.attention, bank, texts_ID)
        loss = stage2_loss(features, networks.heads, logits_BI, label_B, settings)
        training.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        training.optimiser.step()
        found.append(
            Stage2Losses(
                total=loss.total.detach(),
                identity=loss.identity,
                triplet=loss.triplet,
                text=loss.text,
            )
        )
        _tell(training, epoch, step, len(batches), found[-1].total)
    total_S = torch.stack([one.total for one in found])
    return ClipEnd(
        report=ClipReport(
            epoch=epoch,
            stage=2,
            seconds=round(time.monotonic() - began, 2),
            learning_rate=rate,
            loss=float(total_S.mean()),
            identity_loss=float(torch.stack([one.identity for one in found]).mean()),
            triplet_loss=float(torch.stack([one.triplet for one in found]).mean()),
            text_loss=float(torch.stack([one.text for one in found]).mean()) if bank else None,
            description_cosine=None,
            description_top1=None,
        ),
        step_losses=tuple(total_S.tolist()),
    )


def _in_fp32(features: ImageFeatures) -> ImageFeatures:
    return ImageFeatures(
        early_ND=features.early_ND.float(),
        pooled_ND=features.pooled_ND.float(),
        projected_ND=features.projected_ND.float(),
    )


def _set_rate(training: ClipTraining, rate: float, bias_factor: float) -> None:
    generator, weights, biases = training.optimiser.param_groups
    generator["lr"], weights["lr"], biases["lr"] = rate, rate, bias_factor * rate


def _tell(training: ClipTraining, epoch: int, step: int, num_steps: int, loss: Tensor) -> None:
    if step % _TELL_EVERY == 0 or step == num_steps:
        training.listener.on_steps(epoch, step, num_steps, float(loss))
