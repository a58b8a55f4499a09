"""The other two branches of a FANCL run, for study: what is exported is the clean encoder alone.

The paper does not say which of its three embeddings its tables compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from edge.errors import InputError
from trainer import checkpoint
from trainer.evaluation.candidate import Candidate
from trainer.fana import Fana
from trainer.pixels import Pixels
from trainer.rundir import read_config
from trainer.settings import FanaSettings, LossSettings
from trainer.views import Networks, Views, extract


def settings_with_branches(run: Path) -> dict[str, Any]:
    """The settings of a run; raises InputError where it has one branch, or is no run."""
    settings: dict[str, Any] = read_config(run, "--branches")["settings"]
    if settings["method"] != "fancl":
        raise InputError(f"{run} was trained by {settings['method']}, which has one branch")
    return settings


def branches_of(run: Path, device: torch.device) -> Iterator[Candidate]:
    """The trained clean, noised and fused views, as they stood after the last epoch.

    Raises InputError where the run has no such branches.
    """
    settings = settings_with_branches(run)
    stored = checkpoint.load_encoder(run)
    networks = Networks(stored.encoder, LossSettings(**settings["loss"])).to(device)
    tensors = {
        key.removeprefix("model."): value
        for key, value in load_file(str(run / checkpoint.STATE)).items()
        if key.startswith("model.")
    }
    networks.load_state_dict(tensors)
    fana = Fana(networks.clean, FanaSettings(**settings["fana"]), settings["seed"])

    def views(images_NHWC: NDArray[np.uint8]) -> Views:
        return extract(networks, fana, Pixels(images_NHWC, device), "fp32")

    spec = stored.facts.input
    yield Candidate(name="clean", spec=spec, embed=lambda images: _rows(views(images).clean_ND))
    if networks.noised is not None:
        yield Candidate(
            name="noised", spec=spec, embed=lambda images: _rows(views(images).noised_ND)
        )
    if networks.fusion is not None:
        yield Candidate(name="fused", spec=spec, embed=lambda images: _rows(views(images).fused_ND))


def _rows(emb_ND: torch.Tensor | None) -> NDArray[np.float32]:
    assert emb_ND is not None
    rows: NDArray[np.float32] = emb_ND.float().cpu().numpy()
    return rows
