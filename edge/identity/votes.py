"""How many votes an animal gets from the pictures nearest to a crop.

Its best picture's cosine takes no account of the others: ten pictures of one burst, or an animal
that many resemble, count as much as one that stands apart. Here the nearest pictures share one
vote, by the weights that rebuild the crop from them: kernel ridge regression on who is in each
(Saunders et al. 1998; the mean of a Gaussian process, Rasmussen and Williams 2006, eq. 2.25), with
the kernel exp(cosine - 1). Pictures that look alike share theirs. Figures: docs/LOG.md. numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAREST_ANIMALS = 6
NEAREST_PICTURES = 64  # of these animals
_RIDGE = 0.01  # of the kernel's diagonal
_BLOCK = 16  # crops at once: 10 MB at 1280 numbers


def votes(
    similarity_NM: NDArray[np.float32],
    best_NI: NDArray[np.float32],
    emb_MD: NDArray[np.float32],
    own_M: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Of each crop and animal the mean of its best picture's cosine and of its share of the vote.

    `similarity_NM` are the crops' cosines to the pictures `emb_MD` of the animals `own_M`, -inf
    where they must not be compared, `best_NI` the highest of each animal; -inf stays -inf.
    """
    near_NI = _nearest_animals(best_NI)
    fitting_NM = np.where(near_NI[:, own_M], similarity_NM, -np.inf)
    num_pictures = min(NEAREST_PICTURES, len(own_M))
    row_NK = np.argpartition(-fitting_NM, num_pictures - 1, axis=1)[:, :num_pictures]
    share_NI = np.zeros(best_NI.shape)
    for start in range(0, len(row_NK), _BLOCK):
        row_BK = row_NK[start : start + _BLOCK]
        similarity_BK = np.take_along_axis(fitting_NM[start : start + _BLOCK], row_BK, axis=1)
        crop_B1 = np.arange(start, start + len(row_BK))[:, None]
        np.add.at(
            share_NI, (crop_B1, own_M[row_BK]), _weights(similarity_BK, _products(emb_MD, row_BK))
        )
    return ((best_NI + share_NI) / 2).astype(np.float32)


def _nearest_animals(best_NI: NDArray[np.float32]) -> NDArray[np.bool_]:
    order_NI = np.argsort(-best_NI, axis=1, kind="stable")
    near_NI = np.zeros(best_NI.shape, bool)
    np.put_along_axis(near_NI, order_NI[:, :NEAREST_ANIMALS], True, axis=1)
    return near_NI & np.isfinite(best_NI)


def _products(emb_MD: NDArray[np.float32], row_BK: NDArray[np.intp]) -> NDArray[np.float32]:
    """Of each crop's pictures with each other; all with all where that is less work."""
    num_crops, num_pictures = row_BK.shape
    if len(emb_MD) ** 2 <= num_crops * num_pictures**2:
        product_MM = emb_MD @ emb_MD.T
        return np.asarray(product_MM[row_BK[:, :, None], row_BK[:, None, :]])
    emb_BKD = emb_MD[row_BK]
    return np.asarray(emb_BKD @ emb_BKD.transpose(0, 2, 1))


def _weights(
    similarity_BK: NDArray[np.float32], product_BKK: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Of each picture in its crop's vote; 0 for those that must not be compared."""
    kernel_BKK = np.exp(product_BKK.astype(np.float64) - 1)
    kernel_BKK += _RIDGE * np.eye(similarity_BK.shape[1])
    out_BK = ~np.isfinite(similarity_BK)
    if out_BK.any():
        kernel_BKK[out_BK[:, :, None] | out_BK[:, None, :]] = 0.0
        kernel_BKK += np.eye(similarity_BK.shape[1]) * out_BK[:, None, :]  # never singular
    to_crop_BK = np.exp(similarity_BK.astype(np.float64) - 1)  # exp(-inf) is 0
    return np.asarray(np.linalg.solve(kernel_BKK, to_crop_BK[..., None])[..., 0])
