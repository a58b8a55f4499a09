"""Decision thresholds that travel with the model, fitted on the labels of its training crops."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge import calibrate
from edge.identity.trials import Reference
from edge.model import Decision

NONE = Decision(
    source=None,
    match_threshold=None,
    new_threshold=None,
    wrong_name_rate=None,
    false_new_rate=None,
)


def fit(
    emb_ND: NDArray[np.float32],
    label_N: NDArray[np.int64],
    burst_N: NDArray[np.int64],
    source: Literal["pseudo-labels", "labels"],
) -> Decision:
    """Similarity thresholds, each label taken for an animal and each burst for an event.

    Outliers (-1) are left out; with fewer than ten animals there are no thresholds.
    """
    kept = label_N >= 0
    if not kept.any():
        return NONE
    reference = Reference(
        emb_MD=emb_ND[kept],
        individual_M=np.unique(label_N[kept], return_inverse=True)[1].astype(np.int64),
        group_M=_groups(label_N[kept], burst_N[kept]),
    )
    if len(np.unique(reference.individual_M)) < calibrate.MIN_INDIVIDUALS:
        return NONE
    fitted = calibrate.fit_statistic(reference, "similarity", source)
    return Decision(
        source=source,
        match_threshold=fitted.match,
        new_threshold=fitted.new,
        wrong_name_rate=fitted.wrong_name_rate,
        false_new_rate=fitted.false_new_rate,
    )


def _groups(label_N: NDArray[np.int64], burst_N: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = np.stack([label_N, burst_N], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
