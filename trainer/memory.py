"""Cluster memories: how they are built and how they follow the encoder (FANCL eqs. 8 and 9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.encoder import unit
from trainer.settings import MemorySettings
from trainer.views import Views


class ClusterMemory:
    """One unit vector a cluster: built as the cluster's mean, pulled towards each query."""

    def __init__(self, emb_ND: Tensor, pseudo_label_N: Tensor, settings: MemorySettings) -> None:
        """Eq. 8, with labels 0 .. M-1."""
        self.centres_MD = cluster_centres(emb_ND, pseudo_label_N)
        self._keep = settings.keep
        self._update = _UPDATES[settings.update]

    @torch.no_grad()
    def update(self, query_ND: Tensor, pseudo_label_N: Tensor) -> None:
        """Eq. 9, each row brought back to unit length; labels may lie on the CPU."""
        self._update(self.centres_MD, query_ND, pseudo_label_N, self._keep)


def cluster_centres(emb_ND: Tensor, pseudo_label_N: Tensor) -> Tensor:
    """The unit mean of each cluster [M, D] (eq. 8)."""
    num_clusters = int(pseudo_label_N.max()) + 1
    sums = torch.zeros(num_clusters, emb_ND.shape[1], dtype=emb_ND.dtype, device=emb_ND.device)
    return unit(sums.index_add_(0, pseudo_label_N, emb_ND))


def _each_in_turn(centres_MD: Tensor, query_ND: Tensor, label_N: Tensor, keep: float) -> None:
    """Eq. 9 for one query after another.

    Queries of different clusters do not meet, so the first of every cluster go at once, then the
    second: as many rounds as a batch holds pictures of a cluster. The rounds are found on the
    CPU, so that nothing waits for the device.
    """
    label_on_cpu = label_N.cpu()
    order = torch.sort(label_on_cpu, stable=True).indices
    in_order = label_on_cpu[order]
    round_N = torch.arange(len(order)) - torch.searchsorted(in_order, in_order)
    for number in range(int(round_N.max()) + 1):
        rows = order[round_N == number]
        _pull(centres_MD, query_ND[rows], label_on_cpu[rows], keep)


def _least_similar(centres_MD: Tensor, query_ND: Tensor, label_N: Tensor, keep: float) -> None:
    """Only the query that is least similar to its cluster's centre."""
    label_N = label_N.to(query_ND.device)
    similarity_N = (query_ND * centres_MD[label_N]).sum(dim=1)
    labels = label_N.unique()
    among = torch.where(label_N[None] == labels[:, None], similarity_N[None], torch.inf)
    _pull(centres_MD, query_ND[among.argmin(dim=1)], labels, keep)


def _batch_mean(centres_MD: Tensor, query_ND: Tensor, label_N: Tensor, keep: float) -> None:
    """The unit mean of a cluster's queries, once."""
    labels, index_N = label_N.to(query_ND.device).unique(return_inverse=True)
    _pull(centres_MD, cluster_centres(query_ND, index_N), labels, keep)


def _pull(centres_MD: Tensor, query_ND: Tensor, label_N: Tensor, keep: float) -> None:
    """Distinct labels only."""
    mixed = keep * centres_MD[label_N] + (1.0 - keep) * query_ND
    centres_MD[label_N] = unit(mixed)


_Update = Callable[[Tensor, Tensor, Tensor, float], None]
_UPDATES: dict[str, _Update] = {
    "instance": _each_in_turn,
    "hard": _least_similar,
    "batch-mean": _batch_mean,
}


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


def build_memories(views: Views, label_N: NDArray[np.int64], settings: MemorySettings) -> Memories:
    """Eq. 8 in each branch; outliers are left out."""
    kept = torch.from_numpy(np.flatnonzero(label_N >= 0)).to(views.clean_ND.device)
    label_K = torch.from_numpy(label_N[label_N >= 0]).to(views.clean_ND.device)

    def memory(emb_ND: Tensor | None) -> ClusterMemory | None:
        return None if emb_ND is None else ClusterMemory(emb_ND[kept], label_K, settings)

    clean = ClusterMemory(views.clean_ND[kept], label_K, settings)
    return Memories(clean=clean, noised=memory(views.noised_ND), fused=memory(views.fused_ND))
