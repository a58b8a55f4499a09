"""A training run small enough for a test: its settings, its request, a silent listener."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from trainer import fancl
from trainer.run import RunRequest


class Quiet:
    """Collects what a run says."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """Not shown."""


def tiny_config(num_crops: int, use_bursts: bool, random_start: bool) -> fancl.FanclConfig:
    """Two short epochs; enough to go through everything once."""
    base = (
        fancl.from_bursts("fancl", 1, num_crops, random_start)
        if use_bursts
        else fancl.paper("fancl", 1, num_crops)
    )
    warm_up = base.warm_up and dataclasses.replace(base.warm_up, steps=4, bursts_per_batch=4)
    return dataclasses.replace(
        base,
        epochs=2,
        iterations=2,
        clusters_per_batch=4,
        warm_up=warm_up,
        clustering=dataclasses.replace(base.clustering, k1=6, eps=0.3, min_samples=2),
    )


def request_for(world: Path, out: Path) -> RunRequest:
    return RunRequest(
        data=world / "train",
        out=out,
        boxes=world / "train-boxes.json",
        backbone="small-cnn",
        weights=None,
        height=32,
        width=48,
        bursts="auto",
        device=torch.device("cpu"),
        precision="fp32",
        configure=tiny_config,
    )
