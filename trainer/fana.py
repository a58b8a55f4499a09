"""FANA, feature-aware noise addition: cover the pixels where the encoder looks (FANCL III-B).

The activation map of a layer (eq. 1) marks the area of interest (eq. 2), which is covered by
noise (eq. 3). The paper names neither the layer, nor the channel reduction, nor the threshold:
here it is by default the first convolution, ReLU, the mean over channels, and the threshold that
selects exactly the wanted share of each picture. `settings.FanaSettings` lists the choices.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edge.errors import InputError
from trainer.backbone import stem_of
from trainer.encoder import Encoder
from trainer.settings import FanaSettings

_MAX_RECTS = 400  # of a picture; each covers 0.2 to 2 % of it


class Fana(nn.Module):
    """Noise for one epoch, by the encoder as it is when the epoch begins."""

    fill: Tensor

    def __init__(self, encoder: Encoder, settings: FanaSettings, seed: int) -> None:
        """Raises InputError where the backbone has no such layer."""
        super().__init__()
        self.settings = settings
        self.map_of = _map_of(encoder, settings) if settings.area else nn.Identity()
        fill = encoder.black() if settings.fill == "black" else torch.zeros_like(encoder.black())
        self.register_buffer("fill", fill.clone())
        self._rng = torch.Generator(encoder.mean.device).manual_seed(seed)

    @torch.no_grad()
    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The same pictures with `area` of their pixels noised; normalised in, normalised out."""
        if self.settings.area == 0:
            return images_NCHW
        noised_N1HW = self.noised_pixels(self.activation(images_NCHW))
        return torch.where(noised_N1HW, self.fill.to(images_NCHW.dtype), images_NCHW)

    @torch.no_grad()
    def activation(self, images_NCHW: Tensor) -> Tensor:
        """A(x) of eq. 1 at the picture's size, [N, 1, H, W]."""
        maps = torch.relu(self.map_of(images_NCHW)).float()
        if self.settings.reduction == "mean":
            reduced = maps.mean(dim=1, keepdim=True)
        elif self.settings.reduction == "max":
            reduced = maps.amax(dim=1, keepdim=True)
        else:
            reduced = maps.norm(dim=1, keepdim=True)
        return nn.functional.interpolate(
            reduced, images_NCHW.shape[-2:], mode="bilinear", align_corners=False
        )

    def noised_pixels(self, activation_N1HW: Tensor) -> Tensor:
        """Where the noise of eq. 3 falls, bool [N, 1, H, W]."""
        selected = select_area(activation_N1HW, self.settings.area)
        if self.settings.mode == "rects":
            selected = rectangles_on(selected, self.settings.area, self._rng)
        if self.settings.density < 1:
            selected = thinned(selected, self.settings.density, self._rng)
        return selected


class _Stem(nn.Module):
    """The first convolution and, if wanted, the BN behind it with its running statistics."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, images_NCHW: Tensor) -> Tensor:
        maps = self.conv(images_NCHW)
        if self.norm is None:
            return maps
        norm = self.norm
        return nn.functional.batch_norm(
            maps, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
        )


class _Inside(nn.Module):
    """The output of one layer inside a backbone in eval mode."""

    def __init__(self, backbone: nn.Module, path: str) -> None:
        super().__init__()
        self.backbone = backbone
        self._seen: list[Tensor] = []
        backbone.get_submodule(path).register_forward_hook(
            lambda _layer, _inputs, output: self._seen.append(output)
        )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        self._seen.clear()
        self.backbone(images_NCHW)
        return self._seen.pop()


def _map_of(encoder: Encoder, settings: FanaSettings) -> nn.Module:
    live = settings.refresh == "step"
    if settings.layer in ("conv", "bn"):
        conv, norm = stem_of(encoder.backbone)
        if settings.layer == "bn" and norm is None:
            raise InputError(
                f"{encoder.spec.name} has no batch normalisation behind its first convolution; "
                "use --set fana.layer=conv"
            )
        stem = _Stem(conv, norm if settings.layer == "bn" else None)
        return stem if live else _frozen(stem)
    if live:
        raise InputError("fana.refresh=step works with fana.layer=conv or bn only")
    names = {name for name, _ in encoder.backbone.named_modules()}
    if settings.layer not in names:
        raise InputError(
            f"{encoder.spec.name} has no layer '{settings.layer}'; use conv, bn or the path of a "
            f"layer that gives maps, such as {_some_layer(encoder.backbone)}"
        )
    inside = _Inside(_frozen(encoder.backbone), settings.layer).eval()
    size = encoder.spec.height, encoder.spec.width
    with torch.no_grad():
        found = inside(torch.zeros(1, 3, *size, device=encoder.mean.device))
    if found.dim() != 4:
        raise InputError(f"the layer '{settings.layer}' gives no maps; {found.dim()} dimensions")
    return inside


def _frozen(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).requires_grad_(False).eval()


def _some_layer(backbone: nn.Module) -> str:
    norms = [name for name, one in backbone.named_modules() if isinstance(one, nn.BatchNorm2d)]
    return norms[len(norms) // 2] if norms else "conv"


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


def thinned(selected_N1HW: Tensor, density: float, rng: torch.Generator) -> Tensor:
    """A random `density` of the selected pixels of each picture."""
    luck = torch.rand(selected_N1HW.shape, generator=rng, device=rng.device)
    flat = torch.where(selected_N1HW, luck, -1.0).flatten(1)
    order = flat.sort(dim=1, descending=True).indices
    wanted = (selected_N1HW.flatten(1).sum(dim=1, keepdim=True) * density).round()
    ranks = torch.arange(flat.shape[1], device=flat.device).expand_as(flat)
    kept = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, ranks < wanted)
    return kept.view_as(selected_N1HW)


def rectangles_on(selected_N1HW: Tensor, area: float, rng: torch.Generator) -> Tensor:
    """Random small rectangles centred on selected pixels, until they cover `area` of a picture.

    They may reach over the border of the selected area; the last one may exceed the share.
    """
    count, _, height, width = selected_N1HW.shape
    device = selected_N1HW.device
    wanted = round(area * height * width)
    covered = torch.zeros_like(selected_N1HW)
    if not wanted:
        return covered
    rows = torch.arange(height, device=device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=device).view(1, 1, 1, -1)
    weights = selected_N1HW.flatten(1).float()
    for _ in range(_MAX_RECTS):
        open_N = covered.flatten(1).sum(dim=1) < wanted
        if not open_N.any():
            break
        centre = torch.multinomial(weights, 1, generator=rng).view(-1, 1, 1, 1)
        luck = torch.rand((2, count, 1, 1, 1), generator=rng, device=device)
        size = (0.002 + 0.018 * luck[0]) * height * width
        aspect = torch.exp(2.4 * luck[1] - 1.2)
        tall, wide = (size * aspect).sqrt(), (size / aspect).sqrt()
        inside = ((rows - centre // width).abs() <= tall / 2) & (
            (columns - centre % width).abs() <= wide / 2
        )
        covered |= inside & open_N.view(-1, 1, 1, 1)
    return covered
