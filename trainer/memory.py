"""Cluster memories and the losses against them (FANCL eqs. 4 to 9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.encoder import unit
from trainer.views import Views


class ClusterMemory:
    """One unit vector a cluster: built as the cluster's mean, pulled towards each query."""

    def __init__(self, emb_ND: Tensor, pseudo_label_N: Tensor, keep: float) -> None:
        """Eq. 8, with labels 0 .. M-1. `keep` is alpha of eq. 9: 0.1 keeps a tenth of the old."""
        num_clusters = int(pseudo_label_N.max()) + 1
        sums = torch.zeros(num_clusters, emb_ND.shape[1], device=emb_ND.device)
        sums.index_add_(0, pseudo_label_N, emb_ND)
        self.centres_MD = unit(sums)
        self.keep = keep

    @torch.no_grad()
    def update(self, query_ND: Tensor, pseudo_label_N: Tensor) -> None:
        """Eq. 9 for each query in turn, with the row brought back to unit length."""
        for query, label in zip(query_ND, pseudo_label_N.tolist(), strict=True):
            mixed = self.keep * self.centres_MD[label] + (1.0 - self.keep) * query
            self.centres_MD[label] = mixed / mixed.norm().clamp_min(1e-6)


@dataclass(frozen=True, kw_only=True)
class Memories:
    clean: ClusterMemory
    noised: ClusterMemory | None
    fused: ClusterMemory | None

    def update(self, views: Views, label_B: Tensor) -> None:
        self.clean.update(views.clean_ND.detach(), label_B)
        for memory, emb_ND in ((self.noised, views.noised_ND), (self.fused, views.fused_ND)):
            if memory is not None and emb_ND is not None:
                memory.update(emb_ND.detach(), label_B)


def build_memories(views: Views, label_N: NDArray[np.int64], keep: float) -> Memories:
    """Eq. 8 in each branch; outliers are left out."""
    kept = torch.from_numpy(np.flatnonzero(label_N >= 0)).to(views.clean_ND.device)
    label_K = torch.from_numpy(label_N[label_N >= 0]).to(views.clean_ND.device)

    def memory(emb_ND: Tensor | None) -> ClusterMemory | None:
        return None if emb_ND is None else ClusterMemory(emb_ND[kept], label_K, keep)

    clean = ClusterMemory(views.clean_ND[kept], label_K, keep)
    return Memories(clean=clean, noised=memory(views.noised_ND), fused=memory(views.fused_ND))


def cluster_loss(
    query_ND: Tensor, memory: ClusterMemory, pseudo_label_N: Tensor, temperature: float
) -> Tensor:
    """Eq. 4: cross-entropy over cosines to all clusters, divided by the temperature."""
    logits = query_ND.float() @ memory.centres_MD.T / temperature
    return nn.functional.cross_entropy(logits, pseudo_label_N)


def consistency_loss(
    clean_ND: Tensor, noised_ND: Tensor, noised_memory: ClusterMemory, pseudo_label_N: Tensor
) -> Tensor:
    """Eq. 7, cluster level and instance level: from -2 (all agree) to 2."""
    positives = noised_memory.centres_MD[pseudo_label_N]
    to_cluster = (clean_ND * positives).sum(dim=1)
    to_instance = (clean_ND * noised_ND).sum(dim=1)
    return -(to_cluster + to_instance).mean()
