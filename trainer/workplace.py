"""What every method's run needs: pictures, backbone, device; and the record it leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge.preprocess import InputSpec
from trainer import checkpoint
from trainer.backbone import NO_WEIGHTS, LoadedBackbone, load_backbone
from trainer.checkpoint import EncoderFacts, StoredEncoder
from trainer.data import Crops
from trainer.encoder import Encoder, Precision, set_neck_statistics
from trainer.evaluation.scoring import NOT_SCORED, Scores, Truth, score
from trainer.narrator import Narrator
from trainer.rundir import cell, read_rows


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """A run directory, made or checked, and all that a method trains with."""

    out: Path
    method: str
    loaded: LoadedBackbone
    encoder: Encoder  # on the device
    spec: InputSpec
    crops: Crops
    truth: Truth | None  # to score each epoch on
    device: torch.device
    precision: Precision
    narrator: Narrator

    @property
    def is_new(self) -> bool:
        """Whether nothing has been trained here yet."""
        return not (self.out / checkpoint.STATE).is_file()

    def save_encoder(self, name: str, encoder: Encoder, epoch: int) -> None:
        facts = EncoderFacts(
            method=self.method,
            backbone=self.loaded.spec,
            weights=self.loaded.weights,
            input=self.spec,
            epoch=epoch,
            whitened=encoder.whitening is not None,
        )
        stored = StoredEncoder(encoder=encoder, facts=facts)
        checkpoint.save_encoder(self.out / name, stored)

    def prepare_start(self) -> None:
        """Gives the neck the statistics of the crops and stores the control before training."""
        set_neck_statistics(self.encoder, self.crops.images_NHWC, self.device, "fp32")
        self.save_encoder(checkpoint.START, self.encoder, epoch=0)

    def scores(self, encoder: Encoder, label_N: NDArray[np.int64] | None = None) -> Scores:
        if self.truth is None:
            return NOT_SCORED
        return score(encoder, self.truth, label_N, self.device)


def new_encoder(loaded: LoadedBackbone, seed: int, device: torch.device) -> Encoder:
    """The encoder of a run; a random start is drawn anew, so that the seed decides it."""
    torch.manual_seed(seed)
    if loaded.weights == NO_WEIGHTS:
        spec = loaded.spec
        loaded = load_backbone(
            spec.name, NO_WEIGHTS, spec.height, spec.width, spec.last_stride, spec.pooling
        )
    encoder = Encoder(loaded.spec, loaded.module).to(device)
    return encoder.to(memory_format=torch.channels_last)


class Record:
    """The run so far: metrics.csv, steps.csv and the state to go on from, epoch by epoch.

    The state is written last. Rows of an epoch that it does not know are dropped on opening, so
    the epoch is trained again and leaves the same rows.
    """

    def __init__(self, place: Workplace, networks: nn.Module, optimiser: torch.optim.Optimizer):
        self._out, self._networks, self._optimiser = place.out, networks, optimiser
        state = place.out / checkpoint.STATE
        self.done = 0
        if state.is_file():
            self.done = checkpoint.load_state(state, networks, optimiser)
        else:
            checkpoint.save_state(state, networks, optimiser, 0)  # keeps a warm-up
        self.metrics = read_rows(place.out / checkpoint.METRICS)[: self.done]
        steps = read_rows(place.out / checkpoint.STEPS)
        self._steps = [row for row in steps if int(row["epoch"]) <= self.done]

    def add(self, report: Any, step_losses: Sequence[float], scores: Scores) -> None:
        """An epoch: its report (a dataclass with `epoch`), the loss of each step, its scores."""
        row = dataclasses.asdict(report) | dataclasses.asdict(scores)
        self.metrics.append({key: cell(value) for key, value in row.items()})
        self._steps += [
            {"epoch": str(report.epoch), "step": str(step), "loss": repr(loss)}
            for step, loss in enumerate(step_losses, start=1)
        ]
        self._write(checkpoint.METRICS, self.metrics)
        if self._steps:
            self._write(checkpoint.STEPS, self._steps)
        state = self._out / checkpoint.STATE
        checkpoint.save_state(state, self._networks, self._optimiser, report.epoch)
        self.done = report.epoch

    def _write(self, name: str, rows: list[dict[str, str]]) -> None:
        checkpoint.write_rows(self._out / name, list(rows[0]), [list(row.values()) for row in rows])


class Told:
    """Turns what a training loop says into progress and sentences."""

    def __init__(self, narrator: Narrator, epochs: int) -> None:
        self._narrator, self._epochs = narrator, epochs

    def on_steps(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        done, total = (epoch - 1) * num_steps + step, self._epochs * num_steps
        note = f"epoch {epoch} of {self._epochs}, loss {loss:.3f}"
        self._narrator.progress("training", done, total, note)

    def on_trouble(self, sentence: str) -> None:
        self._narrator.say(sentence)


def told_scores(scores: Scores) -> str:
    if scores.mAP is None or scores.rank1 is None:
        return ""
    return f", mAP {100 * scores.mAP:.1f}, rank-1 {100 * scores.rank1:.1f}"
