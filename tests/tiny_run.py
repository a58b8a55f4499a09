"""A training run small enough for a test: its settings, its requests, a silent listener."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from export.fidelity import Tolerance
from export.model_file import ExportRequest
from trainer import recipes
from trainer.changes import with_changes
from trainer.run import RunRequest
from trainer.settings import FanclConfig, Method


class Quiet:
    """Collects what a run says."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """Not shown."""


def tiny_config(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
    """Two short epochs; enough to go through everything once."""
    base = recipes.choose("auto", "fancl", 1, num_crops, use_bursts, random_start)
    changes = ["batch.clusters=4", "clustering.k1=6", "clustering.eps=0.3"]
    changes += ["clustering.min_samples=2", "warm_up.bursts=4"]
    changes += ["warm_up.steps=4"] if base.warm_up.steps else []
    schedule = dataclasses.replace(base.schedule, epochs=2, iterations=2)
    return with_changes(dataclasses.replace(base, schedule=schedule), changes)


def with_method(config: FanclConfig, method: Method) -> FanclConfig:
    """The same settings with another method's losses."""
    other = recipes.paper(method, 1, 100)
    return dataclasses.replace(config, method=method, loss=other.loss, fana=other.fana)


def request_for(world: Path, out: Path) -> RunRequest:
    return RunRequest(
        data=world / "train",
        out=out,
        boxes=world / "train-boxes.json",
        detector=None,
        backbone="small-cnn",
        with_text=False,
        weights=None,
        height=32,
        width=48,
        last_stride=1,
        pooling="average",
        bursts="auto",
        score=False,
        device=torch.device("cpu"),
        precision="fp32",
        configure=tiny_config,
    )


def export_request(source: Path | str, out: Path, **changes: Any) -> ExportRequest:
    """What `fancl-export SOURCE OUT --onnx` asks for, but for the changes."""
    plain = ExportRequest(
        source=str(source),
        out=out,
        weights=None,
        size=None,
        calibrate=None,
        precision="fp32",
        tolerance=Tolerance(mAP_loss=0.005, force=False),
        name=None,
        species=None,
        licence=None,
    )
    return dataclasses.replace(plain, **changes)
