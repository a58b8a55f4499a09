"""FANA, feature-aware noise addition: black out the pixels where the encoder looks (FANCL III-B).

The activation map of the encoder's stem (eq. 1) marks the area of interest (eq. 2), which is
covered by pepper noise (eq. 3). The paper names neither the layer, nor the channel reduction, nor
the threshold: here it is the first convolution (or the BN behind it), ReLU, the mean over
channels, and the threshold that selects exactly the wanted share of each picture.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from edge.errors import InputError
from trainer.backbone import stem_of
from trainer.encoder import Encoder

FanaLayer = Literal["conv", "bn"]


class Fana(nn.Module):
    """Noise for one epoch, from a frozen copy of the encoder's stem as the epoch begins."""

    black: Tensor

    def __init__(self, encoder: Encoder, area: float, layer: FanaLayer) -> None:
        super().__init__()
        conv, norm = stem_of(encoder.backbone)
        if layer == "bn" and norm is None:
            raise InputError(
                f"{encoder.spec.name} has no batch normalisation behind its first convolution; "
                "use --fana-layer conv"
            )
        self.area = area
        self.conv = copy.deepcopy(conv).requires_grad_(False)
        self.norm = copy.deepcopy(norm) if layer == "bn" else None
        self.register_buffer("black", encoder.black().clone())
        self.eval()

    @torch.no_grad()
    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The same pictures with `area` of their pixels black; normalised in, normalised out."""
        selected_N1HW = select_area(self.activation(images_NCHW), self.area)
        return torch.where(selected_N1HW, self.black.to(images_NCHW.dtype), images_NCHW)

    @torch.no_grad()
    def activation(self, images_NCHW: Tensor) -> Tensor:
        """A(x) of eq. 1 at the picture's size, [N, 1, H, W]."""
        maps = self.conv(images_NCHW)
        if self.norm is not None:
            maps = self.norm(maps)
        reduced = torch.relu(maps).mean(dim=1, keepdim=True)
        return nn.functional.interpolate(
            reduced.float(), images_NCHW.shape[-2:], mode="bilinear", align_corners=False
        )


def select_area(activation_N1HW: Tensor, area: float) -> Tensor:
    """P(x) of eq. 2: the round(area * H * W) most active pixels of each picture, bool.

    Ties go to the lower index, so the area is exact on flat maps too.
    """
    flat = activation_N1HW.flatten(1)
    count = round(area * flat.shape[1])
    selected = torch.zeros_like(flat, dtype=torch.bool)
    if count:
        chosen = torch.sort(flat, dim=1, descending=True, stable=True).indices[:, :count]
        selected.scatter_(1, chosen, True)
    return selected.view_as(activation_N1HW)
