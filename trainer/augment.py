"""Augmentation of whole batches, on the training device.

`weak` is the paper's: flip, pad, crop. `light`, ours, adds what light and a bush do to one animal;
`strong`, for bursts, also what pose and distance do, so that nothing but its coat is left to tell
it by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainer.settings import AugmentSettings

_PAD = 10  # pixels, FANCL IV-A


def augmented(
    pixels_NCHW: Tensor, settings: AugmentSettings, rng: torch.Generator, fill_1C11: Tensor
) -> Tensor:
    """The batch as the settings want it; `rng` lies on the pictures' device.

    `fill_1C11` is the colour that erased rectangles take: what the encoder subtracts as its mean.
    """
    if settings.kind == "strong":
        pixels_NCHW = strong(pixels_NCHW, rng)
        if settings.flip:
            pixels_NCHW = mirror(pixels_NCHW, rng)
    else:
        pixels_NCHW = weak(pixels_NCHW, rng, settings.flip)
        if settings.kind == "light":
            pixels_NCHW = _relight(pixels_NCHW, rng)
            colour_NC11 = _rand((len(pixels_NCHW), 3, 1, 1), rng)
            pixels_NCHW = cover(pixels_NCHW, rng, 0.25, colour_NC11)
    if settings.erasing:
        pixels_NCHW = cover(pixels_NCHW, rng, 0.40, fill_1C11)
    return pixels_NCHW


def mirror(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the pictures, flipped left to right."""
    return torch.where(_chance(len(pixels_NCHW), 0.5, rng), pixels_NCHW.flip(3), pixels_NCHW)


def weak(pixels_NCHW: Tensor, rng: torch.Generator, flip: bool) -> Tensor:
    """Flip half of the pictures (if `flip`), pad 10 black pixels, crop back at random places."""
    count, _, height, width = pixels_NCHW.shape
    if flip:
        pixels_NCHW = mirror(pixels_NCHW, rng)
    padded = nn.functional.pad(pixels_NCHW, (_PAD,) * 4)
    device = rng.device
    top = torch.randint(0, 2 * _PAD + 1, (count, 1, 1), generator=rng, device=device)
    left = torch.randint(0, 2 * _PAD + 1, (count, 1, 1), generator=rng, device=device)
    rows = top + torch.arange(height, device=device).view(1, -1, 1)
    columns = left + torch.arange(width, device=device).view(1, 1, -1)
    which = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[which, :, rows, columns].permute(0, 3, 1, 2)


def strong(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Turn, scale, shift, relight, grey, blur, add noise and cover a part; never mirror.

    A mirrored flank is another animal's pattern, so there is no flip.
    """
    pixels_NCHW = _grey(_relight(_move(pixels_NCHW, rng), rng), rng)
    pixels_NCHW = _blur(pixels_NCHW, rng)
    noise = torch.randn(pixels_NCHW.shape, generator=rng, device=rng.device)
    amount = _uniform(len(pixels_NCHW), 0.0, 0.05, rng)
    noisy = (pixels_NCHW + amount * noise).clamp(0.0, 1.0)
    return cover(noisy, rng, 0.25, _rand((len(noisy), 3, 1, 1), rng))


def cover(pixels_NCHW: Tensor, rng: torch.Generator, largest: float, colour_NC11: Tensor) -> Tensor:
    """Half of the pictures lose a rectangle of 2 % to `largest` of their area to a colour."""
    count, _, height, width = pixels_NCHW.shape
    area = _uniform(count, 0.02, largest, rng) * height * width
    aspect = torch.exp(_uniform(count, math.log(0.3), math.log(3.3), rng))
    half_height = (area * aspect).sqrt().clamp(max=height) / 2
    half_width = (area / aspect).sqrt().clamp(max=width) / 2
    middle_y = _uniform(count, 0.0, float(height), rng)
    middle_x = _uniform(count, 0.0, float(width), rng)
    rows = torch.arange(height, device=rng.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=rng.device).view(1, 1, 1, -1)
    inside = ((rows - middle_y).abs() < half_height) & ((columns - middle_x).abs() < half_width)
    return torch.where(inside & _chance(count, 0.5, rng), colour_NC11, pixels_NCHW)


def _move(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Rotation to 10 degrees, scale 0.8 to 1.2 on each axis, shear and shift; edges repeat."""
    count = len(pixels_NCHW)
    angle = _uniform(count, -10.0, 10.0, rng).view(-1) * math.pi / 180.0
    shear = _uniform(count, -0.12, 0.12, rng).view(-1)
    scale_x = 1.0 / _uniform(count, 0.85, 1.25, rng).view(-1)
    scale_y = 1.0 / _uniform(count, 0.85, 1.25, rng).view(-1)
    shift_x = _uniform(count, -0.15, 0.15, rng).view(-1)
    shift_y = _uniform(count, -0.15, 0.15, rng).view(-1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    first = torch.stack([scale_x * cos, -scale_x * sin + shear, shift_x], dim=1)
    second = torch.stack([scale_y * sin, scale_y * cos, shift_y], dim=1)
    theta = torch.stack([first, second], dim=1)
    grid = nn.functional.affine_grid(theta, list(pixels_NCHW.shape), align_corners=False)
    return nn.functional.grid_sample(pixels_NCHW, grid, padding_mode="border", align_corners=False)


def _relight(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture's gamma, contrast, brightness and colour balance."""
    count = len(pixels_NCHW)
    gamma = torch.exp(_uniform(count, -0.5, 0.5, rng))
    contrast = _uniform(count, 0.6, 1.4, rng)
    shift = _uniform(count, -0.2, 0.2, rng)
    balance = 0.85 + 0.3 * _rand((count, 3, 1, 1), rng)
    lit = pixels_NCHW.clamp(1e-4, 1.0) ** gamma
    mean = lit.mean(dim=(1, 2, 3), keepdim=True)
    return (((lit - mean) * contrast + mean + shift) * balance).clamp(0.0, 1.0)


def _grey(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Four pictures in ten lose their colour, as under infrared light."""
    grey = pixels_NCHW.mean(dim=1, keepdim=True).expand_as(pixels_NCHW)
    return torch.where(_chance(len(pixels_NCHW), 0.4, rng), grey, pixels_NCHW)


def _blur(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    soft = nn.functional.avg_pool2d(pixels_NCHW, 3, stride=1, padding=1, count_include_pad=False)
    return torch.where(_chance(len(pixels_NCHW), 0.3, rng), soft, pixels_NCHW)


def _rand(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)


def _uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return low + (high - low) * _rand((count, 1, 1, 1), rng)


def _chance(count: int, probability: float, rng: torch.Generator) -> Tensor:
    return _rand((count, 1, 1, 1), rng) < probability
