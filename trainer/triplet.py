"""The batch-hard triplet loss (Hermans et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor


def batch_hard(distance_BB: Tensor, label_B: Tensor, margin: float) -> Tensor:
    """Each row's farthest fellow must be nearer than its nearest stranger, by the margin.

    Rows without a fellow or without a stranger in the batch count as nothing.
    """
    same_BB = label_B[:, None] == label_B[None, :]
    itself = torch.eye(len(label_B), dtype=torch.bool, device=label_B.device)
    fellow_BB = same_BB & ~itself
    farthest_B = distance_BB.masked_fill(~fellow_BB, -1.0).amax(dim=1)
    nearest_B = distance_BB.masked_fill(same_BB, torch.inf).amin(dim=1)
    counts_B = fellow_BB.any(dim=1) & (~same_BB).any(dim=1)
    excess_B = torch.where(counts_B, farthest_B - nearest_B + margin, 0.0)
    return excess_B.clamp_min(0.0).mean()


def unit_distances(emb_BD: Tensor) -> Tensor:
    """Euclidean distances [B, B] of unit vectors."""
    return (2.0 - 2.0 * emb_BD @ emb_BD.T).clamp_min(1e-8).sqrt()
