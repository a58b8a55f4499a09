"""Whether a low precision keeps the ranking: the file beside its fp32 parent, on the same crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model import Evaluation, Fidelity

LOW_QUANTILE = 0.01


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What may be lost."""

    mAP_loss: float  # in [0, 1]
    force: bool  # keep the file whatever it loses


def compare(
    parent_ND: NDArray[np.float32],
    own_ND: NDArray[np.float32],
    parent: Evaluation,
    own: Evaluation,
    tolerance: Tolerance,
) -> Fidelity:
    """The record of what the precision costs, of embeddings of the same crops."""
    cosine_N = np.sum(parent_ND * own_ND, axis=1)
    return Fidelity(
        num_crops=len(cosine_N),
        mean_cosine=float(cosine_N.mean()),
        low_cosine=float(np.quantile(cosine_N, LOW_QUANTILE)),
        rank1_fp32=parent.rank1,
        mAP_fp32=parent.mAP,
        tolerated_mAP_loss=tolerance.mAP_loss,
        forced=tolerance.force and _loss(parent.mAP, own.mAP) > tolerance.mAP_loss,
    )


def require(precision: str, fidelity: Fidelity, own: Evaluation) -> None:
    """Raises ModelError, with the figures, where more is lost than tolerated and not forced."""
    loss = _loss(fidelity.mAP_fp32, own.mAP)
    if loss > fidelity.tolerated_mAP_loss and not fidelity.forced:
        raise ModelError(
            f"{precision} loses {100 * loss:.2f} points of mAP, more than the tolerated "
            f"{100 * fidelity.tolerated_mAP_loss:g}: {in_words(fidelity, own)}. Ship fp32, allow "
            "more with --tolerate POINTS, or keep it all the same with --force"
        )


def in_words(fidelity: Fidelity, own: Evaluation) -> str:
    return (
        f"mAP {100 * fidelity.mAP_fp32:.2f} -> {100 * own.mAP:.2f}, rank-1 "
        f"{100 * fidelity.rank1_fp32:.2f} -> {100 * own.rank1:.2f} over {own.queries} queries "
        f"({own.source}); cosine to fp32 {fidelity.mean_cosine:.4f} in the mean, "
        f"{fidelity.low_cosine:.4f} at the 1st percentile of {fidelity.num_crops} crops"
    )


def _loss(before: float, after: float) -> float:
    return before - after
