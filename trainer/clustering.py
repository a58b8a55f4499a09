"""Pseudo-labels: DBSCAN over the k-reciprocal Jaccard distance between embeddings.

FANCL names DBSCAN alone; the distance is its base method's (Cluster Contrast), as are k1, k2,
eps and min_samples. The distance itself is in `trainer.jaccard`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from trainer.eps import MAX_SHARE, Choice, choose_eps, largest_share, silhouette
from trainer.jaccard import MAX_DISTANCE, jaccard_distances
from trainer.links import separate
from trainer.settings import ClusteringSettings

GIANT_SHARE = 0.5  # at an eps that the user fixed; one cluster with more teaches nothing
_EPS_STEP = 0.05
_MAX_EPS_STEPS = 6


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    label_N: NDArray[np.int64]  # of crops: 0 .. num_clusters - 1, -1 = outlier
    eps: float  # the one used; differs from a fixed setting after a collapse
    agreement: float | None  # with the labels one step of eps below; None for a fixed eps
    silhouette: float | None  # mean over what DBSCAN clustered; None below two clusters
    trouble: str | None  # a sentence for the user, where no eps or another one served

    @property
    def num_clusters(self) -> int:
        return int(self.label_N.max(initial=-1)) + 1

    @property
    def num_outliers(self) -> int:
        return int((self.label_N < 0).sum())

    @property
    def largest_share(self) -> float:
        """Share of all crops that the largest cluster holds."""
        return largest_share(self.label_N, np.ones(len(self.label_N)))

    @property
    def usable(self) -> bool:
        return self.num_clusters >= 2 and self.largest_share <= GIANT_SHARE


def cluster(
    emb_UD: NDArray[np.float32],
    unit_N: NDArray[np.int64],
    apart_P2: NDArray[np.int64],
    settings: ClusteringSettings,
    device: torch.device | str = "cpu",
) -> PseudoLabels:
    """Pseudo-labels of crops from clustering units: crops, or bursts of them.

    `unit_N` is each crop's row of `emb_UD`; `apart_P2` are pairs of rows that show two animals
    (links.cannot_link); `device` searches neighbours. Labels are judged by crops, as bursts differ
    in length. A fixed eps that collapses is changed step by step until it does not. What was done
    is told in `trouble`; check `usable` before training on the result.
    """
    distances = jaccard_distances(emb_UD, settings.k1, settings.k2, device)
    size_U = np.bincount(unit_N, minlength=len(emb_UD))

    def labels_at(eps: float) -> NDArray[np.int64]:
        return separate(dbscan(distances, eps, settings.min_samples), apart_P2, emb_UD)

    def of_crops(choice: Choice) -> PseudoLabels:
        label_U = choice.label_U
        quality = silhouette(distances, label_U)
        if settings.unit == "bursts":
            label_U = _keep_lone_bursts(label_U, size_U)
        return PseudoLabels(
            label_N=label_U[unit_N],
            eps=choice.eps,
            agreement=choice.agreement,
            silhouette=quality,
            trouble=None,
        )

    if settings.eps is not None:
        return _at_fixed_eps(
            settings.eps,
            lambda eps: of_crops(Choice(eps=eps, label_U=labels_at(eps), agreement=None)),
        )
    chosen = of_crops(choose_eps(labels_at, size_U))
    if chosen.num_clusters >= 2 and chosen.largest_share <= MAX_SHARE:
        return chosen
    return replace(chosen, trouble=f"{_collapse(chosen)}, and no other eps was better")


def _at_fixed_eps(wanted: float, labels_of: Callable[[float], PseudoLabels]) -> PseudoLabels:
    """At the wanted eps, or the nearest that does not collapse.

    A giant cluster makes eps smaller by 0.05, too few clusters make it larger, six times at most.
    """
    first = labels_of(wanted)
    if first.usable:
        return first
    step = -_EPS_STEP if first.largest_share > GIANT_SHARE else _EPS_STEP
    for count in range(1, _MAX_EPS_STEPS + 1):
        eps = round(wanted + count * step, 4)
        if not 0.0 < eps < MAX_DISTANCE:
            break
        again = labels_of(eps)
        if again.usable:
            return replace(again, trouble=f"{_collapse(first)}; used eps {eps:.2f} instead")
    return replace(first, trouble=f"{_collapse(first)}, nor do the nearest eps help")


def _collapse(labels: PseudoLabels) -> str:
    """What is wrong with labels, and what may help."""
    if labels.num_clusters >= 2:
        return (
            f"one cluster holds {labels.largest_share:.0%} of all at eps {labels.eps:.2f} "
            "(a smaller clustering.eps or clustering.k1 helps)"
        )
    count = "no clusters" if labels.num_clusters == 0 else "a single cluster"
    return f"{count} at eps {labels.eps:.2f} (a larger clustering.eps or clustering.k1 helps)"


def dbscan(distances: sparse.csr_matrix, eps: float, min_samples: int) -> NDArray[np.int64]:
    """Labels [N] of DBSCAN (Ester et al. 1996), -1 = outlier, equal to scikit-learn's.

    `distances` must be symmetric; what it does not store is farther than `eps`. A row with
    `min_samples` rows within `eps`, itself included, is a core. Cores that reach each other are a
    cluster, numbered by its first core; any other row joins the first cluster with a core near it.
    """
    num_rows = distances.shape[0]
    row = np.repeat(np.arange(num_rows), np.diff(distances.indptr))
    near = (distances.data <= eps) & (row != distances.indices)
    row, col = row[near], distances.indices[near]
    core_N = np.bincount(row, minlength=num_rows) + 1 >= min_samples
    label_N = _number_cores(core_N, row, col)
    borders = ~core_N[row] & core_N[col]
    first_N = np.full(num_rows, num_rows)
    np.minimum.at(first_N, row[borders], label_N[col[borders]])
    return np.where(first_N < num_rows, first_N, label_N)


def _number_cores(
    core_N: NDArray[np.bool_], row: NDArray[np.int64], col: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Clusters of the cores, numbered by first core, from pairs of near rows; -1 for the rest."""
    both = core_N[row] & core_N[col]
    links = sparse.csr_matrix(
        (np.ones(int(both.sum()), np.int8), (row[both], col[both])), (len(core_N), len(core_N))
    )
    _, component_N = connected_components(links, directed=False)
    label_N = np.full(len(core_N), -1)  # components are numbered by their first row already
    label_N[core_N] = np.unique(component_N[core_N], return_inverse=True)[1]
    return label_N


def _keep_lone_bursts(label_B: NDArray[np.int64], size_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """A burst that joined no cluster is one of its own, if it has two frames to compare."""
    kept = label_B.copy()
    alone = np.flatnonzero((label_B < 0) & (size_B > 1))
    kept[alone] = int(label_B.max(initial=-1)) + 1 + np.arange(len(alone))
    return kept
