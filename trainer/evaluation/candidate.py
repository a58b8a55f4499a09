"""What can be evaluated: a run, a checkpoint, a model file or a published encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.encoder import open_encoder
from edge.errors import InputError
from edge.preprocess import InputSpec
from trainer import checkpoint
from trainer.checkpoint import load_encoder
from trainer.encoder import Encoder, embed, new_encoder, set_neck_statistics
from trainer.evaluation.public import Size, is_published, load_published

Embedder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
_CONTROL_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something that embeds crops, and the input it wants."""

    name: str
    spec: InputSpec
    embed: Embedder


def open_candidate(
    source: str, weights: str | None, size: Size | None, device: torch.device
) -> Candidate:
    """The encoder at SOURCE; raises InputError, WeightsError or ModelError where it cannot be."""
    if is_published(source):
        loaded = load_published(source, weights, size)
        spec = InputSpec(
            height=loaded.spec.height, width=loaded.spec.width, resize="squash", pad_value=0
        )
        return _torch_candidate(source, Encoder(loaded.spec, loaded.module), spec, device)
    if weights is not None or size is not None:
        flag = "--size" if weights is None else "--weights"
        raise InputError(
            f"{flag} is for published encoders (timm:NAME, open_clip:NAME); a run or model file "
            "carries its own"
        )
    path = Path(source)
    if path.suffix == ".onnx":
        encoder = open_encoder(path)
        return Candidate(name=source, spec=encoder.manifest.input, embed=encoder.embed)
    stored = load_encoder(path)
    return _torch_candidate(source, stored.encoder, stored.facts.input, device)


def _torch_candidate(
    name: str, encoder: Encoder, spec: InputSpec, device: torch.device
) -> Candidate:
    encoder = encoder.to(device)
    return Candidate(name=name, spec=spec, embed=lambda images: embed(encoder, images, device))


def controls_of(
    source: str, gallery_images_GHWC: NDArray[np.uint8], device: torch.device
) -> list[Candidate]:
    """A run's own start, and random weights whose neck has seen the gallery (no labels)."""
    run = Path(source) if Path(source).is_dir() else Path(source).parent
    if Path(source).suffix == ".onnx" or not (run / checkpoint.START).is_file():
        return []
    start = load_encoder(run / checkpoint.START)
    torch.manual_seed(_CONTROL_SEED)
    untrained = new_encoder(start.facts.backbone).to(device)
    set_neck_statistics(untrained, gallery_images_GHWC, device, "fp32")
    random = _torch_candidate("random weights", untrained, start.facts.input, device)
    if start.facts.weights == "none":
        return [random]
    name = f"frozen ({start.facts.weights})"
    return [_torch_candidate(name, start.encoder, start.facts.input, device), random]


def embed_flipped(candidate: Candidate, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit-length mean of the embeddings of each picture and of its mirror image."""
    mirrored_NHWC = np.ascontiguousarray(images_NHWC[:, :, ::-1])
    sum_ND = candidate.embed(images_NHWC) + candidate.embed(mirrored_NHWC)
    lengths = np.linalg.norm(sum_ND, axis=1, keepdims=True)
    return np.asarray(sum_ND / np.maximum(lengths, np.float32(1e-12)))
