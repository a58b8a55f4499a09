"""CLIP's image towers with the three outputs that IndivAID and CLIP-ReID train on.

The towers are open_clip's own modules; how each gives its early, pooled and projected feature, and
how it takes pictures of another size than it was trained on, follows IndivAID's released code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from edge.errors import InputError
from trainer.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """What a tower knows of a batch; the descriptor of an animal is pooled and projected."""

    early_ND: Tensor  # a: before the last block; trained on, then left
    pooled_ND: Tensor  # z
    projected_ND: Tensor  # v: in the space of the descriptions


class VitTower(nn.Module):
    """The class token before the last block, after it, and projected."""

    def __init__(self, visual: VisionTransformer, height: int, width: int) -> None:
        super().__init__()
        if visual.attn_pool is not None or visual.pool_type != "tok":
            raise InputError(
                "this CLIP model pools its patches; IndivAID reads the class token: use one of "
                "OpenAI's kind, for example open_clip:ViT-B-16-quickgelu"
            )
        self.visual = visual
        fit_size(visual, height, width)

    def forward(self, images_NCHW: Tensor) -> ImageFeatures:
        *blocks, last = self.visual.transformer.resblocks
        tokens_NLD = self.visual._embeds(images_NCHW)
        for block in blocks:
            tokens_NLD = block(tokens_NLD)
        early_ND = tokens_NLD[:, 0]
        pooled_ND = self.visual.ln_post(last(tokens_NLD)[:, 0])
        return ImageFeatures(
            early_ND=early_ND, pooled_ND=pooled_ND, projected_ND=pooled_ND @ self.visual.proj
        )


class ResnetTower(nn.Module):
    """Means over the maps of the last two stages, and the attention pool; the last stride is 1."""

    def __init__(self, visual: ModifiedResNet, height: int, width: int) -> None:
        super().__init__()
        self.visual = visual
        first = visual.layer4[0]
        first.avgpool = nn.Identity()
        first.downsample[0] = nn.Identity()
        _fit_pool(visual, _grid(height, width, (16, 16)))

    def forward(self, images_NCHW: Tensor) -> ImageFeatures:
        visual = self.visual
        early_NCHW = visual.layer3(visual.layer2(visual.layer1(visual.stem(images_NCHW))))
        late_NCHW = visual.layer4(early_NCHW)
        return ImageFeatures(
            early_ND=early_NCHW.mean(dim=(2, 3)),
            pooled_ND=late_NCHW.mean(dim=(2, 3)),
            projected_ND=visual.attnpool(late_NCHW),
        )


class TimmTower(nn.Module):
    """A tower of timm: the mean of its last map but one, its pooled vector, its projection."""

    def __init__(self, visual: TimmModel, height: int, width: int) -> None:
        super().__init__()
        self.visual = visual
        fit_size(visual, height, width)

    def forward(self, images_NCHW: Tensor) -> ImageFeatures:
        last, maps = self.visual.trunk.forward_intermediates(images_NCHW, indices=2)
        pooled_ND = self.visual.trunk.forward_head(last)
        if pooled_ND.ndim == 4:  # the pool is in open_clip's own head
            projected_ND, pooled_ND = self.visual.head(pooled_ND), pooled_ND.mean(dim=(2, 3))
        else:
            projected_ND = self.visual.head(pooled_ND)
        return ImageFeatures(
            early_ND=maps[0].mean(dim=(2, 3)), pooled_ND=pooled_ND, projected_ND=projected_ND
        )


ImageTower = VitTower | ResnetTower | TimmTower


def tower_of(visual: nn.Module, height: int, width: int) -> ImageTower:
    """The tower for pictures of that size; changes `visual`.

    Raises InputError where the architecture has no such outputs or cannot take the size.
    """
    if isinstance(visual, VisionTransformer):
        return VitTower(visual, height, width)
    if isinstance(visual, ModifiedResNet):
        return ResnetTower(visual, height, width)
    if isinstance(visual, TimmModel):
        return TimmTower(visual, height, width)
    raise InputError(f"image towers of the kind {type(visual).__name__} are not known here")


class ClipBackbone(nn.Module):
    """Pooled and projected feature side by side: 1280 values for ViT-B/16, 3072 for RN50.

    Both as they come, before the BN necks of training; unit length is the encoder's work.
    """

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower: ImageTower = tower

    def forward(self, images_NCHW: Tensor) -> Tensor:
        features: ImageFeatures = self.tower(images_NCHW)
        return torch.cat([features.pooled_ND, features.projected_ND], dim=1)


def tower_in(encoder: Encoder) -> ImageTower:
    """The tower of an encoder whose backbone is a CLIP model's."""
    assert isinstance(encoder.backbone, ClipBackbone)
    return encoder.backbone.tower


def fit_size(visual: nn.Module, height: int, width: int) -> None:
    """Makes a tower of open_clip take pictures of that size; raises InputError where it cannot."""
    if isinstance(visual, VisionTransformer):
        grid = _grid(height, width, tuple(visual.patch_size))
        visual.positional_embedding = _resized(visual.positional_embedding, grid, visual.grid_size)
        visual.grid_size, visual.image_size = grid, (height, width)
    elif isinstance(visual, ModifiedResNet):
        _fit_pool(visual, _grid(height, width, (32, 32)))
    elif isinstance(visual, TimmModel) and (height, width) != tuple(visual.image_size):
        visual.set_input_size((height, width))


def _fit_pool(visual: ModifiedResNet, grid: tuple[int, int]) -> None:
    pool = visual.attnpool
    pool.positional_embedding = _resized(pool.positional_embedding, grid, None)


def _grid(height: int, width: int, patch: tuple[int, ...]) -> tuple[int, int]:
    if height % patch[0] or width % patch[1]:
        raise InputError(
            f"this CLIP model sees patches of {patch[0]} x {patch[1]} pixels: give --size with "
            f"multiples of them, not {height}x{width}"
        )
    return height // patch[0], width // patch[1]


def _resized(
    position_PD: nn.Parameter, grid: tuple[int, int], before: tuple[int, int] | None
) -> nn.Parameter:
    """Position embeddings for another grid: bilinear, the first row (class or mean) as it is.

    `before` is the grid they were made for; None: a square.
    """
    side = round((len(position_PD) - 1) ** 0.5)
    rows, columns = before or (side, side)
    if (rows, columns) == grid:
        return position_PD
    width = position_PD.shape[1]
    with torch.no_grad():
        map_1DHW = position_PD[1:].reshape(1, rows, columns, width).permute(0, 3, 1, 2)
        map_1DHW = nn.functional.interpolate(
            map_1DHW, size=grid, mode="bilinear", align_corners=False
        )
        body_PD = map_1DHW.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], width)
        return nn.Parameter(torch.cat([position_PD[:1], body_PD]))
