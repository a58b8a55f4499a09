"""Augmentation of whole batches, on the training device.

`weak` is the paper's: flip, pad, crop. `strong` is ours for bursts: what light, pose, distance
and a bush do to one animal, so that nothing but its coat is left to tell it by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_PAD = 10  # pixels, FANCL IV-A


def weak(pixels_NCHW: Tensor, rng: torch.Generator, flip: bool) -> Tensor:
    """Flip half of the pictures (if `flip`), pad 10 black pixels, crop back at random places."""
    count, _, height, width = pixels_NCHW.shape
    if flip:
        pixels_NCHW = _where(_chance(count, 0.5, rng), pixels_NCHW.flip(3), pixels_NCHW)
    padded = nn.functional.pad(pixels_NCHW, (_PAD,) * 4)
    top = torch.randint(0, 2 * _PAD + 1, (count, 1, 1), generator=rng)
    left = torch.randint(0, 2 * _PAD + 1, (count, 1, 1), generator=rng)
    rows = (top + torch.arange(height).view(1, -1, 1)).to(padded.device)
    columns = (left + torch.arange(width).view(1, 1, -1)).to(padded.device)
    which = torch.arange(count, device=padded.device).view(-1, 1, 1)
    return padded[which, :, rows, columns].permute(0, 3, 1, 2)


def strong(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Turn, scale, shift, relight, grey, blur, add noise and cover a part; never mirror.

    A mirrored flank is another animal's pattern, so there is no flip.
    """
    pixels_NCHW = _grey(_relight(_move(pixels_NCHW, rng), rng), rng)
    pixels_NCHW = _blur(pixels_NCHW, rng)
    noise = torch.randn(pixels_NCHW.shape, generator=rng).to(pixels_NCHW.device)
    amount = _uniform(len(pixels_NCHW), 0.0, 0.05, rng).to(pixels_NCHW.device)
    return cover((pixels_NCHW + amount * noise).clamp(0.0, 1.0), rng)


def cover(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the pictures lose a rectangle of 2 to 25 % of their area to a random colour."""
    count, _, height, width = pixels_NCHW.shape
    area = _uniform(count, 0.02, 0.25, rng) * height * width
    aspect = torch.exp(_uniform(count, math.log(0.3), math.log(3.3), rng))
    half_height = (area * aspect).sqrt().clamp(max=height) / 2
    half_width = (area / aspect).sqrt().clamp(max=width) / 2
    middle_y = _uniform(count, 0.0, float(height), rng)
    middle_x = _uniform(count, 0.0, float(width), rng)
    rows = torch.arange(height).view(1, 1, -1, 1)
    columns = torch.arange(width).view(1, 1, 1, -1)
    inside = ((rows - middle_y).abs() < half_height) & ((columns - middle_x).abs() < half_width)
    hit = (inside & _chance(count, 0.5, rng)).to(pixels_NCHW.device)
    colour = torch.rand((count, 3, 1, 1), generator=rng).to(pixels_NCHW.device)
    return torch.where(hit, colour, pixels_NCHW)


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
    theta = torch.stack([first, second], dim=1).to(pixels_NCHW.device)
    grid = nn.functional.affine_grid(theta, list(pixels_NCHW.shape), align_corners=False)
    return nn.functional.grid_sample(pixels_NCHW, grid, padding_mode="border", align_corners=False)


def _relight(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture's gamma, contrast, brightness and colour balance."""
    count, device = len(pixels_NCHW), pixels_NCHW.device
    gamma = torch.exp(_uniform(count, -0.5, 0.5, rng)).to(device)
    contrast = _uniform(count, 0.6, 1.4, rng).to(device)
    shift = _uniform(count, -0.2, 0.2, rng).to(device)
    balance = (0.85 + 0.3 * torch.rand((count, 3, 1, 1), generator=rng)).to(device)
    lit = pixels_NCHW.clamp(1e-4, 1.0) ** gamma
    mean = lit.mean(dim=(1, 2, 3), keepdim=True)
    return (((lit - mean) * contrast + mean + shift) * balance).clamp(0.0, 1.0)


def _grey(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Four pictures in ten lose their colour, as under infrared light."""
    grey = pixels_NCHW.mean(dim=1, keepdim=True).expand_as(pixels_NCHW)
    return _where(_chance(len(pixels_NCHW), 0.4, rng), grey, pixels_NCHW)


def _blur(pixels_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    soft = nn.functional.avg_pool2d(pixels_NCHW, 3, stride=1, padding=1, count_include_pad=False)
    return _where(_chance(len(pixels_NCHW), 0.3, rng), soft, pixels_NCHW)


def _uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand((count, 1, 1, 1), generator=rng)


def _chance(count: int, probability: float, rng: torch.Generator) -> Tensor:
    return torch.rand((count, 1, 1, 1), generator=rng) < probability


def _where(chosen_N111: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(chosen_N111.to(no.device), yes, no)
