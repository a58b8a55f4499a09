"""Learning rates of both stages, epoch by epoch from 1 (IndivAID's and CLIP-ReID's programs)."""

from __future__ import annotations

import math

from trainer.clip.settings import Stage1Settings, Stage2Settings


def stage1_rate(settings: Stage1Settings, epoch: int) -> float:
    """A linear warm-up, then a half cosine down to the smallest rate at the last epoch."""
    base, start, warm = settings.learning_rate, settings.warm_up_rate, settings.warm_up_epochs
    if epoch < min(warm, settings.epochs):
        return start + epoch * (base - start) / warm
    if epoch >= settings.epochs:
        return settings.min_rate
    cosine = math.cos(math.pi * epoch / settings.epochs)
    return settings.min_rate + 0.5 * (base - settings.min_rate) * (1.0 + cosine)


def stage2_rate(settings: Stage2Settings, epoch: int) -> float:
    """A linear warm-up from a factor, then a tenth from each of two epochs on."""
    rate = settings.learning_rate
    if epoch < settings.warm_up_epochs:
        along = epoch / settings.warm_up_epochs
        rate *= settings.warm_up_factor * (1.0 - along) + along
    rate *= 0.1 ** ((epoch >= settings.first_decay) + (epoch >= settings.second_decay))
    return rate
