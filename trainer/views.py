"""The three views of a picture in FANCL: clean, noised, fused; and the networks that give them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.encoder import Encoder, Precision, autocast, to_pixels, twin, unit
from trainer.fana import Fana
from trainer.pixels import Pixels
from trainer.settings import LossSettings


class Networks(nn.Module):
    """f (clean), f' (noised) and the fusion layer; the last two only where a loss needs them."""

    def __init__(self, clean: Encoder, loss: LossSettings) -> None:
        super().__init__()
        self.clean = clean
        self.noised = twin(clean) if loss.needs_noised_branch else None
        self.fusion = _fusion(clean.embedding_dim, loss.fusion_start) if loss.fused else None

    def fuse(self, clean_ND: Tensor, noised_ND: Tensor) -> Tensor | None:
        """The fused view, or None without a fusion layer."""
        if self.fusion is None:
            return None
        return unit(self.fusion(torch.cat([clean_ND, noised_ND], dim=1)))


def _fusion(width: int, start: str) -> nn.Linear:
    """R^2D to R^D (FANCL III-A)."""
    layer = nn.Linear(2 * width, width)
    if start == "average":
        with torch.no_grad():
            layer.weight.copy_(0.5 * torch.eye(width).repeat(1, 2))
            layer.bias.zero_()
    return layer


@dataclass(frozen=True, kw_only=True)
class Views:
    """The embeddings of one set of pictures in each branch; None where there is no branch."""

    clean_ND: Tensor
    noised_ND: Tensor | None
    fused_ND: Tensor | None


@torch.no_grad()
def extract(
    networks: Networks,
    fana: Fana,
    pixels: Pixels,
    precision: Precision,
) -> Views:
    """All pictures through all branches in eval mode, without augmentation."""
    networks.eval()
    parts: list[Views] = []
    for images in pixels.batches():
        clean = prepare(networks.clean, to_pixels(images))
        parts.append(forward(networks, fana, clean, precision))
    return Views(
        clean_ND=torch.cat([part.clean_ND for part in parts]),
        noised_ND=_cat([part.noised_ND for part in parts]),
        fused_ND=_cat([part.fused_ND for part in parts]),
    )


def prepare(encoder: Encoder, pixels_NCHW: Tensor) -> Tensor:
    """RGB in [0, 1] as the backbone takes it."""
    return encoder.normalise(pixels_NCHW).contiguous(memory_format=torch.channels_last)


def forward(networks: Networks, fana: Fana, clean_NCHW: Tensor, precision: Precision) -> Views:
    """The three views of prepared pictures; the noise falls on the same (augmented) geometry."""
    with autocast(clean_NCHW.device, precision):
        clean_ND = networks.clean(clean_NCHW)
        if networks.noised is None:
            return Views(clean_ND=clean_ND, noised_ND=None, fused_ND=None)
        noised_ND = networks.noised(fana(clean_NCHW))
    return Views(
        clean_ND=clean_ND, noised_ND=noised_ND, fused_ND=networks.fuse(clean_ND, noised_ND)
    )


def _cat(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


@torch.no_grad()
def embed_all(
    encoder: Encoder, pixels: Pixels, precision: Precision, mirror: bool = False
) -> Tensor:
    """Embeddings [N, D] of all pictures, or of their mirror images, in eval mode."""
    encoder.eval()
    parts = []
    for images in pixels.batches():
        plain = to_pixels(images)
        prepared = prepare(encoder, plain.flip(3) if mirror else plain)
        with autocast(prepared.device, precision):
            parts.append(encoder(prepared))
    return torch.cat(parts)
