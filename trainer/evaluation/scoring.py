"""Figures of each epoch against labels, where the user asks for them; they never steer training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.errors import InputError
from edge.preprocess import InputSpec
from trainer.data import Crops
from trainer.encoder import Encoder, embed
from trainer.evaluation.evaluate import score_encoder
from trainer.evaluation.protocol import Rules
from trainer.evaluation.pseudo import agreement
from trainer.evaluation.retrieved import Retrieved, retrieved
from trainer.evaluation.trial import Trial, labelled_collection, load_trial
from trainer.narrator import Narrator


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Columns of metrics.csv; None where the run is not scored."""

    mAP: float | None
    rank1: float | None
    ari: float | None  # of the pseudo-labels, outliers taken for clusters of one


NOT_SCORED = Scores(mAP=None, rank1=None, ari=None)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What encoders are scored on, and who is on the training crops ("" where unknown)."""

    trial: Trial
    train_identity_N: NDArray[np.str_]


def load_truth(
    data: Path, spec: InputSpec, boxes: Path | None, train: Crops, narrator: Narrator
) -> Truth:
    """The query and gallery rows of DATA; raises InputError where it has none."""
    splits = {one.split for one in labelled_collection(data).pictures if one.identity is not None}
    if not {"query", "gallery"} <= splits:
        raise InputError(
            f"--score needs rows with the splits query and gallery, and identities, in {data}; "
            "score a finished run on other data with fancl-eval"
        )
    rules = Rules(protocol="split", query_share=0.5, exclude_encounter=True)
    return Truth(
        trial=load_trial(data, spec, boxes, rules, narrator),
        train_identity_N=np.array([fact.picture.identity or "" for fact in train.facts]),
    )


def score(
    encoder: Encoder, truth: Truth, label_N: NDArray[np.int64] | None, device: torch.device
) -> Scores:
    """Retrieval in eval mode and fp32; ARI of `label_N` over the crops whose animal is known."""
    figures = score_encoder(encoder, truth.trial, device)
    known_N = truth.train_identity_N != ""
    ari = None
    if label_N is not None and known_N.any():
        ari = agreement(label_N[known_N], truth.train_identity_N[known_N], 0).ari
    return Scores(mAP=figures.mean_ap, rank1=figures.rank1, ari=ari)


def retrieved_by(encoder: Encoder, truth: Truth, device: torch.device) -> Retrieved:
    """What the encoder finds for each query, with pictures, for the report."""
    emb_ND = embed(encoder, truth.trial.crops.images_NHWC, device)
    return retrieved(truth.trial, truth.trial.similarity(emb_ND))
