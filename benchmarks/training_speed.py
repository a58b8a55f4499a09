"""How near FANCL's training step and extraction come to the bare networks, on one device.

    python benchmarks/training_speed.py --out benchmarks/results/training-speed

Pictures per second of the whole training step (sampling, augmentation, FANA, both encoders,
losses, Adam, memories) against a bare forward and backward of the same two encoders on tensors
that lie on the device; and of extraction against their bare forward. Rounds of the two alternate,
medians count. Also the share that clustering would take of an epoch of four passes.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from trainer import fancl, recipes
from trainer.backbone import load_backbone
from trainer.encoder import Encoder, Precision, autocast, to_pixels
from trainer.fana import Fana
from trainer.pixels import Pixels
from trainer.views import Networks, Views, extract, prepare

_IDENTITIES, _WARM_UP_STEPS = 64, 5


class _Silent:
    def on_steps(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Nothing is shown while the clock runs."""

    def on_trouble(self, sentence: str) -> None:
        """Nothing is shown while the clock runs."""


def main(
    out: Annotated[Path, typer.Option(help="Folder for result.json.")],
    backbone: Annotated[str, typer.Option(help="As fancl-train takes it.")] = "resnet50",
    height: Annotated[int, typer.Option()] = 128,
    width: Annotated[int, typer.Option()] = 256,
    batch: Annotated[int, typer.Option(help="Pictures a step, a multiple of 4.")] = 64,
    pictures: Annotated[int, typer.Option(help="In the drawn collection.")] = 4096,
    steps: Annotated[int, typer.Option(help="A round.")] = 30,
    rounds: Annotated[int, typer.Option()] = 5,
    device: Annotated[str, typer.Option()] = "cuda",
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "bf16",
) -> None:
    """Measure, print, write."""
    training, views = _training(
        backbone, height, width, batch, pictures, steps, torch.device(device), precision
    )
    fana = Fana(training.networks.clean, training.config.fana, 0)
    label_N = np.arange(pictures) % _IDENTITIES
    resident = prepare(
        training.networks.clean, to_pixels(training.pixels.rows(np.arange(batch)))
    ).detach()

    timed: dict[str, Callable[[], int]] = {
        "training step": lambda: _our_steps(training, fana, views, label_N),
        "bare forward and backward": lambda: _bare_steps(training, resident, steps),
        "extraction": lambda: _our_extraction(training, fana),
        "bare forward": lambda: _bare_forward(training, resident, pictures // batch),
    }
    rates: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):  # the first warms up
        for name, run in timed.items():
            rate = _rate(run, training.pixels.device)
            if number:
                rates[name].append(rate)
    began = time.monotonic()
    emb_ND = views.clean_ND.float().cpu().numpy()
    no_pairs = np.zeros((0, 2), np.int64)
    fancl.pseudo_labels(emb_ND, np.arange(pictures), no_pairs, training.config.clustering)
    clustering = time.monotonic() - began
    result = _summed_up(rates, clustering, pictures, training)
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _training(
    backbone: str,
    height: int,
    width: int,
    batch: int,
    pictures: int,
    steps: int,
    device: torch.device,
    precision: str,
) -> tuple[fancl.Training, Views]:
    loaded = load_backbone(backbone, "none", height, width)
    config = recipes.paper("fancl", 1, pictures)
    config = dataclasses.replace(
        config,
        schedule=dataclasses.replace(config.schedule, iterations=steps),
        batch=dataclasses.replace(config.batch, clusters=batch // config.batch.images),
    )
    encoder = Encoder(loaded.spec, loaded.module).to(device)
    networks = Networks(encoder, config.loss).to(device).to(memory_format=torch.channels_last)
    drawn = np.random.default_rng(0).integers(0, 255, (pictures, height, width, 3), np.uint8)
    kind: Precision = "bf16" if precision == "bf16" else "fp32"
    training = fancl.Training(
        networks=networks,
        start=None,
        optimiser=torch.optim.Adam(networks.parameters(), 1e-5, fused=device.type == "cuda"),
        pixels=Pixels(drawn, device),
        burst_N=np.arange(pictures),
        apart_P2=np.zeros((0, 2), np.int64),
        config=config,
        precision=kind,
        listener=_Silent(),
    )
    return training, extract(networks, Fana(encoder, config.fana, 0), training.pixels, kind)


def _our_steps(training: fancl.Training, fana: Fana, views: Views, label_N: np.ndarray) -> int:
    fancl.train_one_epoch(training, fana, views, label_N, epoch=1)
    return training.config.schedule.iterations * training.config.batch.size


def _bare_steps(training: fancl.Training, images: torch.Tensor, steps: int) -> int:
    networks = training.networks
    assert networks.noised is not None
    networks.train()
    for _ in range(steps):
        networks.zero_grad(set_to_none=True)
        with autocast(images.device, training.precision):
            both = networks.clean(images).sum() + networks.noised(images).sum()
        both.backward()
    return steps * len(images)


def _our_extraction(training: fancl.Training, fana: Fana) -> int:
    extract(training.networks, fana, training.pixels, training.precision)
    return len(training.pixels)


@torch.no_grad()
def _bare_forward(training: fancl.Training, images: torch.Tensor, batches: int) -> int:
    networks = training.networks
    assert networks.noised is not None
    networks.eval()
    for _ in range(batches):
        with autocast(images.device, training.precision):
            networks.clean(images)
            networks.noised(images)
    return batches * len(images)


def _rate(run: Callable[[], int], device: torch.device) -> float:
    """Pictures per second."""
    began = time.monotonic()
    count = run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return count / (time.monotonic() - began)


def _summed_up(
    rates: dict[str, list[float]], clustering: float, pictures: int, training: fancl.Training
) -> dict[str, object]:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    epoch = 4 * pictures / medians["training step"] + pictures / medians["extraction"] + clustering
    on_gpu = training.pixels.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "CPU",
        "backbone": training.networks.clean.spec.name,
        "precision": training.precision,
        "batch": training.config.batch.size,
        "pictures per second": {name: round(value, 1) for name, value in medians.items()},
        "step over bare": round(medians["training step"] / medians["bare forward and backward"], 3),
        "extraction over bare": round(medians["extraction"] / medians["bare forward"], 3),
        "clustering seconds": round(clustering, 2),
        "clustering share of an epoch": round(clustering / epoch, 3),
    }


if __name__ == "__main__":
    typer.run(main)
