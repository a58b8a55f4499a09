"""Figures of each epoch against labels, where the user asks for them; they never steer training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from edge.detect import BoxesFile
from edge.errors import InputError
from edge.pictures import read_collection
from edge.preprocess import InputSpec
from trainer.data import Crops, load_crops
from trainer.encoder import Encoder, embed
from trainer.metrics import retrieval


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Columns of metrics.csv; None where the run is not scored."""

    mAP: float | None
    rank1: float | None
    ari: float | None  # of the pseudo-labels, outliers taken for clusters of one


NOT_SCORED = Scores(mAP=None, rank1=None, ari=None)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The crops that encoders are scored on, and who is on the training crops."""

    query: Crops
    gallery: Crops
    train_identity_N: NDArray[np.str_]


def load_labelled(data: Path, spec: InputSpec, boxes: Path | None, train: Crops) -> Labelled:
    """The query and gallery rows of DATA; raises InputError where it has none."""
    splits = {one.split for one in read_collection(data).pictures if one.identity is not None}
    if not {"query", "gallery"} <= splits:
        raise InputError(
            f"--score needs rows with the splits query and gallery, and identities, in {data}; "
            "score a finished run on other data with fancl-eval"
        )
    box_file = BoxesFile(boxes) if boxes else None
    return Labelled(
        query=load_crops(read_collection(data, "query"), spec, box_file),
        gallery=load_crops(read_collection(data, "gallery"), spec, box_file),
        train_identity_N=_identities(train),
    )


def score(
    encoder: Encoder,
    labelled: Labelled,
    label_N: NDArray[np.int64] | None,
    device: torch.device,
) -> Scores:
    """Retrieval over the query and gallery rows in eval mode, fp32; ARI of `label_N`."""
    query_QD = embed(encoder, labelled.query.images_NHWC, device)
    gallery_GD = embed(encoder, labelled.gallery.images_NHWC, device)
    figures = retrieval(
        query_QD @ gallery_GD.T, _identities(labelled.query), _identities(labelled.gallery)
    )
    ari = None if label_N is None else pseudo_label_ari(labelled.train_identity_N, label_N)
    return Scores(mAP=figures.mean_ap, rank1=figures.rank1, ari=ari)


def pseudo_label_ari(identity_N: NDArray[np.str_], label_N: NDArray[np.int64]) -> float:
    """Adjusted Rand index over all crops, each outlier (-1) taken for a cluster of one."""
    alone = np.flatnonzero(label_N < 0)
    numbered = label_N.copy()
    numbered[alone] = label_N.max(initial=-1) + 1 + np.arange(len(alone))
    return float(adjusted_rand_score(identity_N, numbered))


def _identities(crops: Crops) -> NDArray[np.str_]:
    return np.array([fact.picture.identity or "" for fact in crops.facts])
