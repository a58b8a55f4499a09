"""What a search found, with its pictures: enough to draw strips of the nearest animals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    query_images_QHWC: NDArray[np.uint8]
    gallery_images_GHWC: NDArray[np.uint8]
    query_identity_Q: NDArray[np.str_]
    gallery_identity_G: NDArray[np.str_]
    similarity_QG: NDArray[np.float32]  # cosines; -inf for pairs that do not count


def retrieved(trial: Trial, similarity_QG: NDArray[np.float32]) -> Retrieved:
    """The trial's crops beside their similarities; shares memory with it where rows adjoin."""
    images_NHWC = trial.crops.images_NHWC
    return Retrieved(
        query_images_QHWC=_rows(images_NHWC, trial.division.query_Q),
        gallery_images_GHWC=_rows(images_NHWC, trial.division.gallery_G),
        query_identity_Q=trial.query_identity_Q,
        gallery_identity_G=trial.gallery_identity_G,
        similarity_QG=similarity_QG,
    )


def _rows(images_NHWC: NDArray[np.uint8], row_M: NDArray[np.int64]) -> NDArray[np.uint8]:
    if len(row_M) and np.array_equal(row_M, np.arange(row_M[0], row_M[0] + len(row_M))):
        return images_NHWC[row_M[0] : row_M[0] + len(row_M)]
    return images_NHWC[row_M]
