"""The encoder: backbone, BN neck, unit length. This is what training makes and export ships."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.backbone import BackboneSpec, build_backbone, output_width

Precision = Literal["fp32", "bf16"]
_EXTRACTION_BATCH = 128


class Encoder(nn.Module):
    """Normalised pictures [N, 3, H, W] to unit-length embeddings [N, D] (FANCL III-A)."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec, backbone: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.embedding_dim = output_width(backbone, spec)
        self.neck = nn.BatchNorm1d(self.embedding_dim)
        self.neck.bias.requires_grad_(False)  # frozen at 0, as in Cluster Contrast
        self.whitening: nn.Linear | None = None  # after training, see trainer.whitening
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, pixels_NCHW: Tensor) -> Tensor:
        """RGB in [0, 1] to the backbone's own scale."""
        return (pixels_NCHW - self.mean) / self.std

    def forward(self, images_NCHW: Tensor) -> Tensor:
        values_ND = self.backbone(images_NCHW)
        if values_ND.dtype in (torch.bfloat16, torch.float16):
            values_ND = values_ND.float()
        return self.finish(values_ND)

    def finish(self, values_ND: Tensor) -> Tensor:
        """From what the backbone gives to embeddings."""
        emb_ND = unit(self.neck(values_ND))
        return emb_ND if self.whitening is None else unit(self.whitening(emb_ND))

    def black(self) -> Tensor:
        """The value of a black pixel after normalisation, [1, 3, 1, 1]."""
        return (0.0 - self.mean) / self.std


def to_pixels(images_NHWC: Tensor) -> Tensor:
    """uint8 RGB [N, H, W, 3] to float32 [N, 3, H, W] in [0, 1]."""
    return images_NHWC.permute(0, 3, 1, 2).float() / 255.0


def unit(vectors_ND: Tensor) -> Tensor:
    """Rows at unit length."""
    return vectors_ND * torch.rsqrt(
        (vectors_ND * vectors_ND).sum(dim=1, keepdim=True).clamp_min(1e-12)
    )


def new_encoder(spec: BackboneSpec, whitened: bool = False) -> Encoder:
    """An encoder with random weights."""
    encoder = Encoder(spec, build_backbone(spec))
    if whitened:
        encoder.whitening = nn.Linear(encoder.embedding_dim, encoder.embedding_dim)
    return encoder


def twin(encoder: Encoder) -> Encoder:
    """A second encoder with the same values and parameters of its own."""
    return copy.deepcopy(encoder)


def batches(images_NHWC: NDArray[np.uint8], device: torch.device) -> Iterator[Tensor]:
    for start in range(0, len(images_NHWC), _EXTRACTION_BATCH):
        part = np.ascontiguousarray(images_NHWC[start : start + _EXTRACTION_BATCH])
        yield torch.from_numpy(part).to(device)


def autocast(device: torch.device, precision: Precision):
    """The context in which the backbone runs; logits and losses stay fp32 outside it."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@torch.no_grad()
def embed(
    encoder: Encoder,
    images_NHWC: NDArray[np.uint8],
    device: torch.device,
    precision: Precision = "fp32",
) -> NDArray[np.float32]:
    """Unit-length embeddings [N, D] in eval mode, no augmentation."""
    encoder.eval()
    parts = []
    for images in batches(images_NHWC, device):
        prepared = encoder.normalise(to_pixels(images)).contiguous(
            memory_format=torch.channels_last
        )
        with autocast(device, precision):
            values_ND = encoder.backbone(prepared)
        parts.append(encoder.finish(values_ND.float()).cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def set_neck_statistics(
    encoder: Encoder, images_NHWC: NDArray[np.uint8], device: torch.device, precision: Precision
) -> None:
    """Give the neck's BN the mean and variance of these pictures.

    A fresh neck knows neither, and the first clustering would see embeddings crowded around the
    backbone's mean.
    """
    encoder.eval()
    neck = encoder.neck
    total = torch.zeros(encoder.embedding_dim, dtype=torch.float64)
    squares = torch.zeros_like(total)
    with autocast(device, precision):
        for images in batches(images_NHWC, device):
            prepared = encoder.normalise(to_pixels(images)).contiguous(
                memory_format=torch.channels_last
            )
            vectors = encoder.backbone(prepared).double().cpu()
            total += vectors.sum(dim=0)
            squares += (vectors * vectors).sum(dim=0)
    mean = total / len(images_NHWC)
    variance = (squares / len(images_NHWC) - mean * mean).clamp_min(1e-8)
    assert neck.running_mean is not None
    assert neck.running_var is not None
    neck.running_mean.copy_(mean.to(neck.running_mean))
    neck.running_var.copy_(variance.to(neck.running_var))
