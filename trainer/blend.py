"""A trained encoder mixed with the one it started from, weight by weight.

Fine-tuning on a few animals forgets some of what pretraining knew of all others. The mean of both
sets of weights keeps a part of each (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
models"), at no cost on the device. Beyond the FANCL paper.
"""

from __future__ import annotations

import copy

import torch

from trainer.encoder import Encoder


@torch.no_grad()
def blend(trained: Encoder, start: Encoder, share: float) -> Encoder:
    """A new encoder: `share` of the start's weights and statistics, the rest of the trained's."""
    mixed = copy.deepcopy(trained)
    values = start.state_dict()
    for name, value in mixed.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(values[name].to(value), share)
    return mixed
