"""Cluster sheets: what the unlabelled photos were sorted into, large, middle and small clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.text import counted
from trainer.data import Crops
from trainer.report.markup import missing, paragraph, section, text
from trainer.report.pictures import figure, strip
from trainer.report.record import Clusters, RunRecord

Indices = NDArray[np.int64]
# With 17 sheets and the outliers at most 133 crops, whatever the number of clusters.
_NUM_LARGEST, _NUM_MIDDLE, _NUM_SMALLEST = 7, 5, 5
_NUM_CROPS = 7  # a sheet
_NUM_OUTLIERS = 14
_SEED = 0


def render_sheets(record: RunRecord, crops: Crops) -> str:
    clusters = record.clusters
    if record.learns_from_names:
        reason = "This run learns from names; it makes no clusters."
        return section("clusters", [missing(reason)])
    if clusters is None:
        reason = "There are no clusters yet: they are written when the first epoch ends."
        return section("clusters", [missing(reason)])
    parts = [
        _counts(clusters),
        paragraph(
            "Each row is a cluster: photos that training took for one animal, without knowing any "
            "name, numbered as in clusters.csv. The most typical photo stands on the left, the "
            "least typical on the right, under each its similarity to the middle of the cluster; "
            "of large clusters, photos at even steps between the two are shown. Good: one animal, "
            "or one side of it, a row. Bad: different animals in a row, or a row held together by "
            "the place or the light. One animal in several clusters is usual and does less harm."
        ),
        *_groups(crops, clusters),
        _outliers(crops, clusters),
    ]
    return section("clusters", parts)


def _counts(clusters: Clusters) -> str:
    size_M = clusters.sizes
    num_outliers = int((clusters.label_N < 0).sum())
    left_out = f"{counted(num_outliers, 'crop')} of {len(clusters.label_N)} in no cluster."
    if not len(size_M):
        return missing(
            f"No cluster was found in the last epoch; {left_out} A larger "
            "<code>clustering.eps</code> or a smaller <code>clustering.k1</code> gives clusters."
        )
    if len(size_M) == 1:
        return paragraph(f"One cluster with {counted(int(size_M[0]), 'crop')}; {left_out}")
    return paragraph(
        f"{len(size_M)} clusters: the largest has {counted(int(size_M.max()), 'crop')}, the "
        f"smallest {int(size_M.min())}, half of them at most {int(np.median(size_M))}; {left_out}"
    )


def chosen_clusters(size_M: NDArray[np.int64]) -> list[tuple[str, Indices]]:
    """Clusters to show under their headings: all of a few; else the largest, middle and smallest.

    Each at most once, the larger first.
    """
    order = np.argsort(-size_M, kind="stable")
    if len(order) <= _NUM_LARGEST + _NUM_MIDDLE + _NUM_SMALLEST:
        heading = "The only cluster" if len(order) == 1 else "All clusters"
        return [(heading, order)] if len(order) else []
    between = order[_NUM_LARGEST:-_NUM_SMALLEST]
    start = (len(between) - _NUM_MIDDLE) // 2
    return [
        ("The largest", order[:_NUM_LARGEST]),
        ("Of middle size", between[start : start + _NUM_MIDDLE]),
        ("The smallest", order[-_NUM_SMALLEST:]),
    ]


def _groups(crops: Crops, clusters: Clusters) -> list[str]:
    parts = []
    for heading, chosen in chosen_clusters(clusters.sizes):
        parts.append(f"<h3>{heading}</h3>")
        parts += [_sheet(crops, clusters, int(label)) for label in chosen]
    return parts


def members_shown(clusters: Clusters, label: int) -> Indices:
    """Crops of a cluster from the most to the least similar to its centre, at even steps."""
    members = np.flatnonzero(clusters.label_N == label)
    members = members[np.argsort(-clusters.similarity_N[members], kind="stable")]
    steps = np.linspace(0, len(members) - 1, min(_NUM_CROPS, len(members)))
    return members[steps.round().astype(np.int64)]


def _sheet(crops: Crops, clusters: Clusters, label: int) -> str:
    size = counted(int(clusters.sizes[label]), "crop")
    shown = [
        _crop(crops, int(row), f"{clusters.similarity_N[row]:.2f}")
        for row in members_shown(clusters, label)
    ]
    row = strip(f"cluster {label}, the most typical first", shown)
    return f'<div class="row">{paragraph(f"Cluster {label}: {size}")}{row}</div>'


def _outliers(crops: Crops, clusters: Clusters) -> str:
    rows = np.flatnonzero(clusters.label_N < 0)
    if not len(rows):
        return missing("No crop was left out of the clusters.")
    chooser = np.random.default_rng(_SEED)
    chosen = np.sort(chooser.choice(rows, min(_NUM_OUTLIERS, len(rows)), replace=False))
    return "\n".join(
        [
            "<h3>In no cluster</h3>",
            paragraph(
                "Too unlike all others to learn from; drawn at random. Good: blurred, cut off or "
                "rare animals. Bad: clear pictures of animals that other rows show."
            ),
            strip("crops in no cluster", [_crop(crops, int(row), "") for row in chosen]),
        ]
    )


def _crop(crops: Crops, row: int, caption: str) -> str:
    picture = crops.facts[row].picture.name
    return figure(crops.images_NHWC[row], picture, text(caption))
