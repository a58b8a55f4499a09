"""The run directory: settings, figures, and weights that survive a power cut.

RUN/config.json          the resolved settings and what is known of the data
RUN/metrics.csv          a row an epoch
RUN/steps.csv            the loss of every step
RUN/clusters.csv         pseudo-labels of the last epoch
RUN/encoder.safetensors  the encoder to evaluate and export, with all that rebuilds it
RUN/start.safetensors    the same before training: the frozen control
RUN/state.safetensors    everything needed to go on after a stop
RUN/report.html          how it went, to look at
RUN/crops.csv            with --detector: what was found in each picture (trainer.card)
RUN/crops.html           the same in pictures, to look at
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge.clusters import CONFIG_NAME
from edge.errors import InputError
from edge.preprocess import InputSpec
from trainer.backbone import BackboneSpec
from trainer.encoder import Encoder, new_encoder

CONFIG, METRICS, STEPS = CONFIG_NAME, "metrics.csv", "steps.csv"
CROPS = "crops.csv"
ENCODER, START, STATE = "encoder.safetensors", "start.safetensors", "state.safetensors"
_FACTS = "fancl"


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """What travels inside an encoder checkpoint beside its weights."""

    method: str
    backbone: BackboneSpec
    weights: str  # where the backbone's weights came from
    input: InputSpec
    epoch: int  # 0: before training
    whitened: bool  # has a last linear layer (trainer.whitening)


@dataclass(frozen=True, kw_only=True)
class StoredEncoder:
    encoder: Encoder
    facts: EncoderFacts


def write_atomically(path: Path, data: bytes) -> None:
    """The file appears whole or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _put_in_place(temporary, path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A CSV file; a name that is not UTF-8 keeps its bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))


def save_encoder(path: Path, stored: StoredEncoder) -> None:
    facts = json.dumps(dataclasses.asdict(stored.facts), sort_keys=True)
    _save(path, _owned(stored.encoder.state_dict()), {_FACTS: facts})


def load_encoder(path: Path) -> StoredEncoder:
    """An encoder from a checkpoint, or from the run directory that holds one.

    Raises InputError when it is not one of ours.
    """
    file_path = path / ENCODER if path.is_dir() else path
    if not file_path.is_file():
        raise InputError(
            f"there is no checkpoint {file_path}; give a folder that fancl-train has written "
            "(after its first epoch), or an encoder.safetensors from one"
        )
    try:
        with safe_open(str(file_path), "pt") as file:
            text = (file.metadata() or {}).get(_FACTS)
        tensors = load_file(str(file_path))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file_path} is not a safetensors checkpoint: {error}") from error
    if text is None:
        raise InputError(
            f"{file_path} holds bare weights, not an encoder that fancl-train made; "
            "as a start for training give it with --weights"
        )
    try:
        facts = _facts_from(json.loads(text))
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{file_path} was written by another release of fancl; use that one, or train again"
        ) from error
    encoder = new_encoder(facts.backbone, facts.whitened)
    encoder.load_state_dict(tensors)
    return StoredEncoder(encoder=encoder.eval(), facts=facts)


def _facts_from(content: dict[str, Any]) -> EncoderFacts:
    backbone = dict(content["backbone"])
    backbone["mean"], backbone["std"] = tuple(backbone["mean"]), tuple(backbone["std"])
    return EncoderFacts(
        method=content["method"],
        backbone=BackboneSpec(**backbone),
        weights=content["weights"],
        input=InputSpec(**content["input"]),
        epoch=content["epoch"],
        whitened=content["whitened"],
    )


def save_state(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, epoch: int) -> None:
    """Model and optimiser after `epoch`."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in values.items()}
    _save(path, _owned(tensors), {"epoch": str(epoch)})


def load_state(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Fills model and optimiser; gives the epoch they were saved after."""
    with safe_open(str(path), "pt") as file:
        epoch = int((file.metadata() or {})["epoch"])
    tensors = load_file(str(path))
    model.load_state_dict(
        {key.removeprefix("model."): value for key, value in tensors.items() if key[0] == "m"}
    )
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return epoch


def _owned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def _save(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, str(temporary), metadata=facts)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    _put_in_place(temporary, path)


def _put_in_place(temporary: Path, path: Path) -> None:
    temporary.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and renames are kept anyway
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
