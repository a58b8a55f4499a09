"""A last linear layer that makes little of the directions in which one animal's pictures differ.

Within-class covariance normalisation (Hatch et al. 2006) with clusters for classes: directions
that vary within clusters are shrunk, those that vary between them are not. Beyond the FANCL paper.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def within_cluster_whitening(
    emb_ND: NDArray[np.float32], label_N: NDArray[np.int64], shrinkage: float
) -> nn.Linear:
    """y = (x - mean) S^(-1/2), S the scatter of embeddings about the centre of their cluster.

    `shrinkage` is the share of S that is replaced by its mean variance in every direction; rows
    labelled -1, and clusters of one, say nothing of S. With no cluster of two it is the identity.
    """
    width = emb_ND.shape[1]
    layer = nn.Linear(width, width)
    kept = np.flatnonzero(label_N >= 0)
    emb_KD = emb_ND[kept].astype(np.float64)
    label_K = np.unique(label_N[kept], return_inverse=True)[1]
    count_C = np.bincount(label_K)
    mean_D = np.zeros(width)
    matrix_DD = np.eye(width)
    if len(kept) and count_C.max() > 1:
        mean_D = emb_KD.mean(axis=0)
        matrix_DD = _inverse_root(_scatter(emb_KD, label_K, count_C), shrinkage)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(matrix_DD.T))
        layer.bias.copy_(torch.from_numpy(-mean_D @ matrix_DD))
    return layer.requires_grad_(False)


def _scatter(
    emb_KD: NDArray[np.float64], label_K: NDArray[np.intp], count_C: NDArray[np.intp]
) -> NDArray[np.float64]:
    centre_CD = np.zeros((len(count_C), emb_KD.shape[1]))
    np.add.at(centre_CD, label_K, emb_KD)
    centre_CD /= count_C[:, None]
    apart_MD = (emb_KD - centre_CD[label_K])[count_C[label_K] > 1]
    return apart_MD.T @ apart_MD / len(apart_MD)


def _inverse_root(scatter_DD: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    """S^(-1/2), scaled so that a mean direction keeps its length."""
    mean_variance = max(float(np.trace(scatter_DD)) / len(scatter_DD), 1e-12)
    even_DD = np.eye(len(scatter_DD))
    mixed_DD = (1 - shrinkage) * scatter_DD / mean_variance + shrinkage * even_DD
    variances, directions = np.linalg.eigh(mixed_DD)
    root: NDArray[np.float64] = (directions / np.sqrt(variances)) @ directions.T
    return root
