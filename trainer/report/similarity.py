"""How alike pictures of the same animal are, and of different ones: two histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edge.text import counted
from trainer.checkpoint import StoredEncoder
from trainer.data import Crops
from trainer.encoder import embed
from trainer.evaluation.retrieved import Retrieved
from trainer.report.charts import Bars, figure_of, histogram_chart
from trainer.report.markup import missing, percent, section
from trainer.report.record import Clusters

_BLOCK = 256  # rows of similarities looked at together
_FINE, _COARSE = 2000, 40  # bins over [-1, 1] that are counted; at most so many are drawn
_MAX_CROPS = 512  # embedded where there are no labels: seconds on a CPU
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """Pairs by similarity, in equal bins over [-1, 1]."""

    same_F: NDArray[np.int64]
    different_F: NDArray[np.int64]

    @property
    def share_in_order(self) -> float:
        """How often a same pair is more alike than a different one; ties within a bin count half.

        The area under the ROC curve; nan where one kind of pair is absent.
        """
        total = int(self.same_F.sum()) * int(self.different_F.sum())
        if not total:
            return float("nan")
        below_F = np.cumsum(self.different_F) - self.different_F / 2
        return float((self.same_F * below_F).sum() / total)


def count_pairs(
    similarity_QG: NDArray[np.float32],
    query_label_Q: NDArray[np.int64],
    gallery_label_G: NDArray[np.int64],
) -> PairCounts:
    """Pairs of equal and of different labels by similarity; -inf takes a pair out."""
    same_F, different_F = np.zeros(_FINE, np.int64), np.zeros(_FINE, np.int64)
    for start in range(0, len(similarity_QG), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block_QG = similarity_QG[rows]
        same_QG = query_label_Q[rows, None] == gallery_label_G[None, :]
        allowed_QG = np.isfinite(block_QG)
        same_F += _binned(block_QG[allowed_QG & same_QG])
        different_F += _binned(block_QG[allowed_QG & ~same_QG])
    return PairCounts(same_F=same_F, different_F=different_F)


def _binned(values: NDArray[np.float32]) -> NDArray[np.int64]:
    index = ((values.astype(np.float64) + 1) / 2 * _FINE).astype(np.int64)
    return np.bincount(index.clip(0, _FINE - 1), minlength=_FINE)


def render_similarity(
    retrieved: Retrieved | None,
    crops: Crops,
    clusters: Clusters | None,
    stored: StoredEncoder | None,
) -> str:
    if retrieved is not None:
        return _section(_by_identity(retrieved))
    if clusters is None or stored is None:
        return _section(
            missing(
                "There are neither queries with known animals nor an encoder with clusters. "
                "<code>fancl-eval RUN DATA --report</code> reads the former; the first epoch that "
                "is not skipped gives the latter, unless the run learns from names."
            )
        )
    return _section(_by_cluster(crops, clusters, stored))


def _by_identity(retrieved: Retrieved) -> str:
    both = np.concatenate([retrieved.query_identity_Q, retrieved.gallery_identity_G])
    _, label = np.unique(both, return_inverse=True)
    num_queries = len(retrieved.query_identity_Q)
    counts = count_pairs(retrieved.similarity_QG, label[:num_queries], label[num_queries:])
    pairs = "Pairs of a query and a gallery picture, by known animals."
    advice = (
        "Good: two hills apart. Bad: one over the other; where they overlap, similarity alone "
        "does not settle who it is."
    )
    return _chart(counts, ("same animal", "different animals"), pairs, advice)


def _by_cluster(crops: Crops, clusters: Clusters, stored: StoredEncoder) -> str:
    rows = _rows_of_some_clusters(clusters)
    if not len(rows):
        return missing(
            "No crop is in a cluster, so there are no pairs to compare. A larger "
            "<code>clustering.eps</code> or a smaller <code>clustering.k1</code> gives clusters."
        )
    emb_ND = embed(stored.encoder.cpu(), crops.images_NHWC[rows], torch.device("cpu"))
    similarity_NN = emb_ND @ emb_ND.T
    similarity_NN[np.tri(len(rows), dtype=np.bool_)] = -np.inf  # each pair once, none with itself
    label_N = clusters.label_N[rows]
    pairs = (
        f"Pairs among {counted(len(rows), 'training crop')} of "
        f"{counted(len(np.unique(label_N)), 'cluster')} drawn at random. <strong>These are "
        "pseudo-labels, not known animals.</strong>"
    )
    advice = (
        "Clusters are made of similar crops, so the hills always lie apart, more than those of "
        "animals would. Bad even so: much overlap."
    )
    counts = count_pairs(similarity_NN, label_N, label_N)
    return _chart(counts, ("same cluster", "different clusters"), pairs, advice)


def _rows_of_some_clusters(clusters: Clusters) -> NDArray[np.int64]:
    """Crops of clusters in random order, until there are enough; no cluster fills the sample."""
    chooser = np.random.default_rng(_SEED)
    num_clusters = len(clusters.sizes)
    rows: list[NDArray[np.int64]] = []
    found = 0
    for label in chooser.permutation(num_clusters):
        members = np.flatnonzero(clusters.label_N == label)
        most = min(len(members), _MAX_CROPS // min(4, num_clusters))
        members = chooser.choice(members, most, replace=False)
        rows.append(members)
        found += len(members)
        if found >= _MAX_CROPS:
            break
    return np.concatenate(rows)[:_MAX_CROPS] if rows else np.empty(0, np.int64)


def _chart(counts: PairCounts, names: tuple[str, str], pairs: str, advice: str) -> str:
    present = [
        (name, count_F)
        for name, count_F in zip(names, (counts.same_F, counts.different_F), strict=True)
        if count_F.any()
    ]
    if not present:
        return missing("There is no pair to compare; at least two pictures are needed.")
    edge_B1, slices = _bins(counts.same_F + counts.different_F)
    groups = [
        Bars(
            name=name,
            share_B=np.add.reduceat(count_F, slices)[: len(edge_B1) - 1] / count_F.sum(),
        )
        for name, count_F in present
    ]
    if len(present) == 2:
        share = percent(counts.share_in_order)
        reading = (
            f"A pair of the {names[0]} is more alike than one of {names[1]} in {share} of all "
            "cases; 50 % would be guessing."
        )
    else:
        reading = f"All pairs are of one kind ({present[0][0]}): there is nothing to compare."
        advice = ""
    alt = f"Histogram of similarities. {reading}"
    drawn = histogram_chart("chart-similarity", edge_B1, groups, alt)
    shown = figure_of(drawn, "Similarity of pairs", f"{reading} {pairs} {advice}")
    return f'<div class="charts">{shown}</div>'


def _bins(count_F: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Edges of the bins to draw, and the first fine bin of each, one more at the end."""
    used = np.flatnonzero(count_F)
    width = int(np.ceil((used[-1] - used[0] + 1) / _COARSE))
    first = np.arange(used[0], used[-1] + width + 1, width).clip(max=_FINE)
    first = np.unique(first)
    edge_B1 = first / _FINE * 2 - 1
    return edge_B1, first[first < _FINE]


def _section(body: str) -> str:
    return section("similarity", [body])
