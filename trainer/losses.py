"""The losses of FANCL against its memories (eqs. 4 to 7 and 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.memory import ClusterMemory, Memories
from trainer.settings import LossSettings
from trainer.views import Views


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Scalars on the training device; the parts carry no gradient."""

    total: Tensor  # eq. 10
    cluster: Tensor  # eq. 6
    consistency: Tensor  # eq. 7


def fancl_loss(views: Views, memories: Memories, label_B: Tensor, settings: LossSettings) -> Losses:
    """Eq. 10: the cluster losses of all branches (eq. 6) plus consistency (eq. 7)."""
    clean_ND, noised_ND, fused_ND = views.clean_ND, views.noised_ND, views.fused_ND
    by_cluster = cluster_loss(clean_ND, memories.clean, label_B, settings.temperature)
    consistency = torch.zeros_like(by_cluster)
    if noised_ND is not None and memories.noised is not None:
        if settings.noised:
            by_cluster = by_cluster + cluster_loss(
                noised_ND, memories.noised, label_B, settings.temperature
            )
        target_ND = noised_ND.detach() if settings.detach_noised else noised_ND
        if settings.consistency_cluster:
            consistency = consistency + to_cluster(clean_ND, memories.noised, label_B)
        if settings.consistency_instance:
            consistency = consistency + to_instance(clean_ND, target_ND)
    if fused_ND is not None and memories.fused is not None:
        by_cluster = by_cluster + cluster_loss(
            fused_ND, memories.fused, label_B, settings.temperature
        )
    return Losses(
        total=by_cluster + consistency,
        cluster=by_cluster.detach(),
        consistency=consistency.detach(),
    )


def cluster_loss(
    query_ND: Tensor, memory: ClusterMemory, pseudo_label_N: Tensor, temperature: float
) -> Tensor:
    """Eq. 4: cross-entropy over cosines to all clusters, divided by the temperature."""
    logits = query_ND @ memory.centres_MD.T / temperature
    return nn.functional.cross_entropy(logits, pseudo_label_N)


def to_cluster(clean_ND: Tensor, noised_memory: ClusterMemory, label_N: Tensor) -> Tensor:
    """First term of eq. 7: each clean view to its centre among the noised, -1 to 1."""
    return -(clean_ND * noised_memory.centres_MD[label_N]).sum(dim=1).mean()


def to_instance(clean_ND: Tensor, noised_ND: Tensor) -> Tensor:
    """Second term of eq. 7: each clean view to its own noised view, -1 to 1."""
    return -(clean_ND * noised_ND).sum(dim=1).mean()
