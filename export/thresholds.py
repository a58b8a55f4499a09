"""Decision thresholds that travel with the model, fitted on the pseudo-labels of its training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge import calibrate
from edge.model import Decision

NONE = Decision(
    source=None,
    match_threshold=None,
    new_threshold=None,
    wrong_name_rate=None,
    false_new_rate=None,
)


def fit_on_pseudo_labels(
    emb_ND: NDArray[np.float32], pseudo_label_N: NDArray[np.int64], burst_N: NDArray[np.int64]
) -> Decision:
    """Similarity thresholds, each cluster taken for an animal and each burst for an event.

    Outliers (-1) are left out; with fewer than ten clusters there are no thresholds.
    """
    kept = pseudo_label_N >= 0
    if not kept.any():
        return NONE
    reference = calibrate.Reference(
        emb_MD=emb_ND[kept],
        individual_M=np.unique(pseudo_label_N[kept], return_inverse=True)[1].astype(np.int64),
        group_M=_groups(pseudo_label_N[kept], burst_N[kept]),
    )
    if len(np.unique(reference.individual_M)) < calibrate.MIN_INDIVIDUALS:
        return NONE
    fitted = calibrate.fit_statistic(reference, "similarity", "pseudo-labels")
    return Decision(
        source="pseudo-labels",
        match_threshold=fitted.match,
        new_threshold=fitted.new,
        wrong_name_rate=fitted.wrong_name_rate,
        false_new_rate=fitted.false_new_rate,
    )


def _groups(label_N: NDArray[np.int64], burst_N: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = np.stack([label_N, burst_N], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
