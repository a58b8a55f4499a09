"""Cluster Contrast against a derivation of its own, in float64, from the same batches.

Nothing below `derive` uses a function of the trainer: network, memory, loss, update and Adam are
written out from the method's description.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer import fancl, recipes
from trainer.backbone import BackboneSpec
from trainer.changes import with_changes
from trainer.encoder import Encoder
from trainer.pixels import Pixels
from trainer.settings import FanclConfig
from trainer.views import Networks

HEIGHT, WIDTH, STEPS = 24, 32, 20
CPU = torch.device("cpu")


class Recorder(Pixels):
    """Keeps the rows of every batch it hands out in training."""

    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        super().__init__(images_NHWC, CPU)
        self.batches_of_rows: list[NDArray[np.int64]] = []

    def rows(self, rows_B: NDArray[np.int64]) -> Tensor:
        self.batches_of_rows.append(rows_B)
        return super().rows(rows_B)


class Silent:
    def on_steps(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Not shown."""

    def on_trouble(self, sentence: str) -> None:
        raise AssertionError(sentence)


def striped_animals() -> NDArray[np.uint8]:
    """Six animals, each a stripe pattern, eight pictures of each under noise."""
    rng = np.random.default_rng(0)
    columns = np.arange(WIDTH)
    pictures = []
    for animal in range(6):
        wave = 128 + 90 * np.sin(columns * (0.3 + 0.35 * animal))
        colour = rng.uniform(0.4, 1.0, 3)
        for _ in range(8):
            picture = wave[None, :, None] * colour + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
            pictures.append(picture.clip(0, 255).astype(np.uint8))
    return np.stack(pictures)


def small_encoder() -> Encoder:
    torch.manual_seed(3)
    backbone = nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten()
    )
    spec = BackboneSpec(
        name="test", height=HEIGHT, width=WIDTH, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25),
        last_stride=1, pooling="average", pad_type="", bn_eps=None, described=None,
    )  # fmt: skip
    return Encoder(spec, backbone).double()


def settings(*changes: str) -> FanclConfig:
    base = recipes.paper("cluster-contrast", 1, 48)
    schedule = dataclasses.replace(base.schedule, epochs=1, iterations=STEPS, learning_rate=2e-3)
    config = dataclasses.replace(base, schedule=schedule)
    small = ["batch.clusters=4", "batch.images=3", "clustering.k1=6", "clustering.k2=1"]
    return with_changes(config, [*small, *changes])


def train(config: FanclConfig) -> tuple[fancl.EpochEnd, Networks, Recorder, list[Tensor]]:
    """One epoch of the trainer; also what went into the encoder in every step."""
    encoder = small_encoder()
    networks = Networks(encoder, config.loss).double()
    seen: list[Tensor] = []
    encoder.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].clone()) if module.training else None
    )
    pixels = Recorder(striped_animals())
    alone = np.arange(len(pixels))
    optimiser = torch.optim.Adam(
        [one for one in networks.parameters() if one.requires_grad],
        config.schedule.learning_rate,
        weight_decay=config.schedule.weight_decay,
    )
    training = fancl.Training(
        networks=networks,
        start=None,
        optimiser=optimiser,
        pixels=pixels,
        burst_N=alone,
        apart_P2=np.zeros((0, 2), np.int64),
        config=config,
        precision="fp32",
        listener=Silent(),
    )
    (end,) = fancl.train_epochs(training, 1)
    return end, networks, pixels, seen


def derive(
    all_images: Tensor, labels: Tensor, batches: list[Tensor], batch_labels: list[Tensor]
) -> tuple[list[float], dict[str, Tensor]]:
    """Loss of every step and the weights after the last, from Cluster Contrast's description."""
    start = {name: value.clone() for name, value in small_encoder().state_dict().items()}
    learned = ["backbone.0.weight", "backbone.0.bias", "neck.weight"]
    weights = {name: start[name].clone().requires_grad_(True) for name in learned}
    mean, variance = start["neck.running_mean"].clone(), start["neck.running_var"].clone()
    first = {name: torch.zeros_like(start[name]) for name in learned}
    second = {name: torch.zeros_like(start[name]) for name in learned}

    def pooled(images: Tensor) -> Tensor:
        maps = torch.conv2d(images, weights["backbone.0.weight"], weights["backbone.0.bias"], 2)
        maps = maps.clamp(min=0)
        half = maps.shape[3] // 2
        assert maps.shape[3] % 2 == 0
        halves = [maps[:, :, :, :half].mean((2, 3)), maps[:, :, :, half:].mean((2, 3))]
        return torch.stack(halves, dim=2).reshape(len(images), -1)

    def unit_rows(values: Tensor) -> Tensor:
        return values / (values**2).sum(1, keepdim=True) ** 0.5

    with torch.no_grad():
        plain = (pooled(all_images) - mean) / (variance + 1e-5) ** 0.5 * weights["neck.weight"]
        plain = unit_rows(plain)
        centres = torch.stack(
            [plain[labels == label].mean(0) for label in range(int(labels.max()) + 1)]
        )
        centres = unit_rows(centres)
    losses = []
    for step, (images, label) in enumerate(zip(batches, batch_labels, strict=True), start=1):
        values = pooled(images)
        centred = values - values.mean(0)
        spread = (centred**2).mean(0)
        query = unit_rows(centred / (spread + 1e-5) ** 0.5 * weights["neck.weight"])
        scores = query @ centres.T / 0.05
        own = scores[torch.arange(len(label)), label]
        loss = (torch.log(torch.exp(scores - scores.max()).sum(1)) + scores.max() - own).mean()
        gradients = torch.autograd.grad(loss, list(weights.values()))
        losses.append(loss.item())
        with torch.no_grad():
            mean = 0.9 * mean + 0.1 * values.mean(0)
            variance = 0.9 * variance + 0.1 * spread * len(values) / (len(values) - 1)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                gradient = gradient + 5e-4 * weight
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                slope = first[name] / (1 - 0.9**step)
                scale = (second[name] / (1 - 0.999**step)) ** 0.5 + 1e-8
                weight -= 2e-3 * slope / scale
            for one, cluster in zip(query, label.tolist(), strict=True):
                mixed = 0.1 * centres[cluster] + 0.9 * one
                centres[cluster] = mixed / math.sqrt(float(mixed @ mixed))
    after = {name: weight.detach() for name, weight in weights.items()}
    return losses, after | {"neck.running_mean": mean, "neck.running_var": variance}


def test_twenty_steps_equal_an_independent_derivation() -> None:
    end, networks, pixels, seen = train(settings())
    labels = torch.from_numpy(end.pseudo_labels.label_N)
    assert int(labels.max()) + 1 >= 4
    rows = [torch.from_numpy(one) for one in pixels.batches_of_rows[-STEPS:]]
    mean = torch.tensor([0.4, 0.5, 0.6]).double().view(1, 3, 1, 1)
    std = torch.tensor([0.2, 0.3, 0.25]).double().view(1, 3, 1, 1)
    plain = torch.from_numpy(striped_animals()).permute(0, 3, 1, 2).float() / 255
    losses, weights = derive((plain - mean) / std, labels, seen, [labels[one] for one in rows])
    assert losses == pytest.approx(end.step_losses, abs=1e-9)
    after = networks.clean.state_dict()
    for name, weight in weights.items():
        torch.testing.assert_close(after[name], weight, atol=1e-9, rtol=0)


def test_fancl_without_noise_branches_and_consistency_is_cluster_contrast() -> None:
    off = [f"loss.{name}=off" for name in ("noised", "fused", "consistency_cluster")]
    off += ["loss.consistency_instance=off", "fana.area=0"]
    plain = settings()
    as_fancl = dataclasses.replace(plain, method="fancl", loss=recipes.paper("fancl", 1, 48).loss)
    end, networks, _, _ = train(with_changes(as_fancl, off))
    expected, others, _, _ = train(plain)
    assert end.step_losses == expected.step_losses
    for name, weight in others.state_dict().items():
        assert torch.equal(networks.state_dict()[name], weight)
