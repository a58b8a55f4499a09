"""What a model file is judged by: pictures of which some are known to show one animal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.encoder import Encoder as DeviceEncoder
from edge.model import Evaluation
from export.source import LabelledCrops, Source
from trainer.evaluation.metrics import Retrieval, retrieval


@dataclass(frozen=True, kw_only=True)
class Exam:
    images_NHWC: NDArray[np.uint8]
    source: Literal["labels", "pseudo-labels"]
    protocol: str  # in words
    num_gallery: int
    score: Callable[[NDArray[np.float32]], Retrieval]  # of embeddings of the images

    def result(self, emb_ND: NDArray[np.float32]) -> Evaluation:
        figures = self.score(emb_ND)
        return Evaluation(
            source=self.source,
            protocol=self.protocol,
            queries=figures.num_queries,
            gallery=self.num_gallery,
            rank1=figures.rank1,
            mAP=figures.mean_ap,
        )


def exam_of(source: Source) -> Exam | None:
    """By labels where there are any, else by the run's clusters, else None."""
    exam = _by_labels(source) if source.trial is not None else _by_clusters(source.crops)
    return exam


def evaluate(exam: Exam | None, encoder: DeviceEncoder) -> Evaluation | None:
    """Figures of the file itself; None where no query has anything to find."""
    if exam is None:
        return None
    found = exam.result(encoder.embed(exam.images_NHWC))
    return found if found.queries else None


def _by_labels(source: Source) -> Exam:
    trial = source.trial
    assert trial is not None
    return Exam(
        images_NHWC=trial.crops.images_NHWC,
        source="labels",
        protocol=trial.division.protocol,
        num_gallery=len(trial.division.gallery_G),
        score=lambda emb_ND: trial.score(trial.similarity(emb_ND)),
    )


def _by_clusters(crops: LabelledCrops | None) -> Exam | None:
    """Each clustered crop against all crops of other bursts; crops in no cluster are no queries."""
    if crops is None or crops.labels_from != "pseudo-labels":
        return None
    query_Q = np.flatnonzero(crops.label_N >= 0)
    if not len(query_Q):
        return None
    identity_N = crops.label_N.astype(np.str_)
    own_burst_QN = crops.burst_N[query_Q][:, None] == crops.burst_N[None, :]

    def score(emb_ND: NDArray[np.float32]) -> Retrieval:
        similarity_QN = np.where(own_burst_QN, np.float32(-np.inf), emb_ND[query_Q] @ emb_ND.T)
        return retrieval(similarity_QN, identity_N[query_Q], identity_N)

    return Exam(
        images_NHWC=crops.images_NHWC,
        source="pseudo-labels",
        protocol="each clustered training crop against those of other bursts",
        num_gallery=len(crops.label_N),
        score=score,
    )
