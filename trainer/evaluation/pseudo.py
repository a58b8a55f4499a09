"""How well a run's clusters agree with the animals, where those are known.

For telling how training went; labels never flow back into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from edge import clusters
from edge.clusters import OUTLIER, ClusterRow, read_clusters
from edge.detect import Box
from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError
from edge.preprocess import InputSpec
from trainer.data import CropFact, load_crops
from trainer.evaluation.protocol import TRAIN
from trainer.evaluation.trial import labelled_collection
from trainer.narrator import Narrator

# Pixels are not looked at; decoding gives a picture's size, which boxes in pixels need.
_TINY = InputSpec(height=1, width=1, resize="squash", pad_value=0)
_Place: TypeAlias = tuple[float, float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class PseudoLabelFigures:
    """Over the run's crops whose animal is known; shares in [0, 1], ARI at most 1."""

    ari: float  # each outlier a cluster of its own
    ari_clustered: float | None  # outliers left out; None where every crop is one
    purity: float | None  # share of clustered crops that show their cluster's commonest animal
    num_clusters: int
    num_identities: int
    outlier_share: float
    largest_share: float  # of the crops in the largest cluster
    num_crops: int  # compared
    num_unmatched: int  # crops of the run that DATA does not label


def score_pseudo_labels(
    source: Path, data: Path, boxes: Path | None, narrator: Narrator
) -> PseudoLabelFigures:
    """The clusters of the run at SOURCE against the identities in DATA's train rows.

    A crop is found by the sha256 of its picture and its box; a picture with one crop on both
    sides by the sha256 alone, since a box may be known to one side only.
    Raises InputError where there are no clusters, or none of their crops is labelled.
    """
    table = (source if source.is_dir() else source.parent) / clusters.FILE_NAME
    if not table.is_file():
        raise InputError(
            f"there is no {table}: --pseudo-labels compares the clusters of a run; give the "
            "folder that fancl-train wrote as SOURCE"
        )
    rows = read_clusters(table)
    crops = load_crops(
        labelled_collection(data, TRAIN),
        _TINY,
        BoxesFile(boxes) if boxes else None,
        progress=lambda done, total: narrator.progress("reading train rows", done, total),
    )
    names = _identities(rows, crops.facts)
    known = [index for index, name in enumerate(names) if name is not None]
    if not known:
        raise InputError(
            f"{data} names no animal of the {len(rows)} crops in {table}: give the data the run "
            "was trained on, with an `identity` column (and --boxes, if it was trained with one)"
        )
    label_N = np.array([rows[index].pseudo_label for index in known])
    return agreement(label_N, np.array([names[index] for index in known]), len(rows) - len(known))


def _identities(rows: tuple[ClusterRow, ...], facts: tuple[CropFact, ...]) -> list[str | None]:
    """The animal of each cluster row, None where the data do not tell."""
    by_place: dict[str, dict[_Place, str | None]] = {}
    for fact in facts:
        by_place.setdefault(fact.sha256, {})[_place(fact.box)] = fact.picture.identity
    crops_of: dict[str, set[_Place]] = {}
    for row in rows:
        crops_of.setdefault(row.sha256, set()).add(_place(row.box))
    names: list[str | None] = []
    for row in rows:
        places = by_place.get(row.sha256, {})
        if len(places) == 1 and len(crops_of[row.sha256]) == 1:
            names += places.values()
        else:
            names.append(places.get(_place(row.box)))
    return names


def _place(box: Box | None) -> _Place:
    """A relative box, comparable after a trip through a table."""
    if box is None:
        return None
    return round(box.x, 4), round(box.y, 4), round(box.width, 4), round(box.height, 4)


def agreement(
    label_N: NDArray[np.int64], identity_N: NDArray[np.str_], num_unmatched: int
) -> PseudoLabelFigures:
    """Adjusted Rand index (Hubert and Arabie 1985) and what explains it; -1 is an outlier."""
    is_outlier_N = label_N == OUTLIER
    clustered_N = label_N[~is_outlier_N]
    single_N = np.where(is_outlier_N, label_N.max() + 1 + np.arange(len(label_N)), label_N)
    sizes = np.unique(clustered_N, return_counts=True)[1]
    animals_N = identity_N[~is_outlier_N]
    return PseudoLabelFigures(
        ari=float(adjusted_rand_score(identity_N, single_N)),
        ari_clustered=float(adjusted_rand_score(animals_N, clustered_N)) if len(sizes) else None,
        purity=_purity(clustered_N, animals_N) if len(sizes) else None,
        num_clusters=len(sizes),
        num_identities=len(np.unique(identity_N)),
        outlier_share=float(is_outlier_N.mean()),
        largest_share=float(sizes.max() / len(label_N)) if len(sizes) else 0.0,
        num_crops=len(label_N),
        num_unmatched=num_unmatched,
    )


def _purity(label_N: NDArray[np.int64], identity_N: NDArray[np.str_]) -> float:
    commonest = [
        np.unique(identity_N[label_N == label], return_counts=True)[1].max()
        for label in np.unique(label_N)
    ]
    return float(sum(commonest) / len(label_N))
