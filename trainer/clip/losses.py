"""What both stages minimise: descriptions that fit their pictures, then pictures told apart."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainer.encoder import unit

Stage1Loss = Literal["supcon", "align", "released"]


def description_loss(
    kind: Stage1Loss,
    projected_BD: Tensor,
    text_BD: Tensor,
    label_B: Tensor,
    temperature: float,
) -> Tensor:
    """Stage 1: how badly descriptions and pictures fit.

    supcon: contrast in both directions over the batch, pictures of one identity being positives,
    raw dot products (CLIP-ReID). align: 2 (1 - cos) of each pair. released: 2 exp(cos), which
    IndivAID's program minimises, driving descriptions away from their pictures; for comparison.
    """
    if kind == "supcon":
        logits_BB = projected_BD @ text_BD.T / temperature
        same_BB = (label_B[:, None] == label_B[None, :]).float()
        return _contrast(logits_BB, same_BB) + _contrast(logits_BB.T, same_BB)
    cosine_B = (unit(projected_BD) * unit(text_BD)).sum(dim=1)
    if kind == "align":
        return 2.0 * (1.0 - cosine_B).mean()
    return 2.0 * cosine_B.exp().mean()


def _contrast(logits_BB: Tensor, same_BB: Tensor) -> Tensor:
    """-mean over rows of the mean log-probability of their positives."""
    log_share_BB = logits_BB.log_softmax(dim=1)
    return -((log_share_BB * same_BB).sum(dim=1) / same_BB.sum(dim=1)).mean()


def smoothed_cross_entropy(logits_BI: Tensor, label_B: Tensor, smoothing: float) -> Tensor:
    """Against (1 - e) for the right identity and e / I for each."""
    return nn.functional.cross_entropy(logits_BI, label_B, label_smoothing=smoothing)


def euclidean_distances(values_BD: Tensor) -> Tensor:
    """Between rows that are not normalised, [B, B]; finite gradients where rows coincide."""
    square_B = values_BD.square().sum(dim=1)
    squares_BB = square_B[:, None] + square_B[None, :] - 2.0 * values_BD @ values_BD.T
    return squares_BB.clamp_min(1e-12).sqrt()


def description_metrics(
    projected_ND: Tensor, text_ND: Tensor, label_N: Tensor, identity_text_ID: Tensor
) -> tuple[float, float]:
    """(mean cosine of pictures to their own descriptions, top-1 among the identities' texts).

    Both must rise in stage 1; they are logged for every loss.
    """
    cosine = float((unit(projected_ND) * unit(text_ND)).sum(dim=1).mean())
    best_N = (unit(projected_ND) @ unit(identity_text_ID).T).argmax(dim=1)
    return cosine, float((best_N == label_N).float().mean())
