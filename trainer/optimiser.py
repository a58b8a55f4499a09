"""Adam, its rate over the epochs, and the seed of each epoch: the same for every method."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainer.settings import ScheduleSettings


def new_optimiser(
    networks: nn.Module, schedule: ScheduleSettings, device: torch.device
) -> torch.optim.Adam:
    return torch.optim.Adam(
        [one for one in networks.parameters() if one.requires_grad],
        schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        fused=device.type == "cuda",
    )


def begin_epoch(
    optimiser: torch.optim.Optimizer, schedule: ScheduleSettings, seed: int, epoch: int
) -> float:
    """Sets torch's seed and the optimiser's rate for this epoch; gives the rate."""
    torch.manual_seed(seed_of(seed, epoch))
    rate = learning_rate(schedule, epoch)
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def learning_rate(schedule: ScheduleSettings, epoch: int) -> float:
    """Epochs count from 1; with the paper's 20: a tenth from epoch 21, a hundredth from 41."""
    rate = schedule.learning_rate
    if schedule.decay_epochs is not None:
        rate *= 0.1 ** ((epoch - 1) // schedule.decay_epochs)
    if schedule.cosine:
        rate *= 0.5 * (1.0 + math.cos(math.pi * (epoch - 1) / schedule.epochs))
    return rate


def seed_of(seed: int, epoch: int) -> int:
    """Each epoch starts from its own seed, so a resumed run goes on as it would have."""
    return seed * 100_003 + epoch
