"""The three views of a picture in FANCL: clean, noised, fused; and the networks that give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.encoder import Encoder, Precision, autocast, batches, to_pixels, twin, unit
from trainer.fana import Fana

Method = Literal["fancl", "cluster-contrast"]


class Networks(nn.Module):
    """f (clean), f' (noised) and the fusion layer; the last two are absent in Cluster Contrast."""

    def __init__(self, clean: Encoder, method: Method) -> None:
        super().__init__()
        self.clean = clean
        self.noised = twin(clean) if method == "fancl" else None
        self.fusion = (
            nn.Linear(2 * clean.embedding_dim, clean.embedding_dim) if method == "fancl" else None
        )

    def fuse(self, clean_ND: Tensor, noised_ND: Tensor) -> Tensor:
        assert self.fusion is not None
        return unit(self.fusion(torch.cat([clean_ND, noised_ND], dim=1)))


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
    images_NHWC: NDArray[np.uint8],
    device: torch.device,
    precision: Precision,
) -> Views:
    """All pictures through all branches in eval mode, without augmentation."""
    networks.eval()
    parts: list[Views] = []
    for images in batches(images_NHWC, device):
        clean = prepare(networks.clean, to_pixels(images))
        parts.append(forward(networks, fana, clean, device, precision))
    return Views(
        clean_ND=torch.cat([part.clean_ND for part in parts]),
        noised_ND=_cat([part.noised_ND for part in parts]),
        fused_ND=_cat([part.fused_ND for part in parts]),
    )


def prepare(encoder: Encoder, pixels_NCHW: Tensor) -> Tensor:
    """RGB in [0, 1] as the backbone takes it."""
    return encoder.normalise(pixels_NCHW).contiguous(memory_format=torch.channels_last)


def forward(
    networks: Networks, fana: Fana, clean_NCHW: Tensor, device: torch.device, precision: Precision
) -> Views:
    """The three views of prepared pictures; the noise falls on the same (augmented) geometry."""
    with autocast(device, precision):
        clean_ND = networks.clean(clean_NCHW)
        if networks.noised is None:
            return Views(clean_ND=clean_ND.float(), noised_ND=None, fused_ND=None)
        noised_ND = networks.noised(fana(clean_NCHW))
    clean_ND, noised_ND = clean_ND.float(), noised_ND.float()
    return Views(
        clean_ND=clean_ND, noised_ND=noised_ND, fused_ND=networks.fuse(clean_ND, noised_ND)
    )


def _cat(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
