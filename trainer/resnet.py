"""ResNet-50 as FANCL uses it: torchvision's, up to layer4, pooled to 2048 values (III-A)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Pooling: TypeAlias = Literal["average", "gem"]
_GEM_POWER = 3.0  # where generalised-mean pooling starts, as in Cluster Contrast


class PooledResnet(nn.Module):
    """A torchvision ResNet without its classifier; `last_stride` is that of layer4."""

    def __init__(self, resnet: nn.Module, last_stride: int, pooling: Pooling) -> None:
        super().__init__()
        for name, child in resnet.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, child)
        if last_stride == 1:
            first = self.get_submodule("layer4.0")
            for name in ("conv2", "downsample.0"):
                convolution = first.get_submodule(name)
                assert isinstance(convolution, nn.Conv2d)
                convolution.stride = (1, 1)
        self.pool = GeneralisedMean() if pooling == "gem" else Average()

    def forward(self, images_NCHW: Tensor) -> Tensor:
        maps = images_NCHW
        for child in self.children():
            maps = child(maps)
        return maps


class Average(nn.Module):
    """The mean over positions: FANCL's pooling."""

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        return maps_NCHW.mean(dim=(2, 3))


class GeneralisedMean(nn.Module):
    """(mean of x^p)^(1/p) with a learned p (Radenovic et al. 2019): Cluster Contrast's pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(_GEM_POWER))

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        positive = maps_NCHW.float().clamp_min(1e-6)
        return (positive**self.power).mean(dim=(2, 3)) ** (1.0 / self.power)
