"""Embeddings drawn with the spreads of real ones, for galleries larger than any there is.

Those of holstein cow heads by a supervised MobileNetV2 (41 animals, 1903 pictures): of a squared
length 8 % is common to all, 43 % is an animal's and falls over directions like k^-1.5, 52 % is a
picture's and falls like 1 / (k + 0.5). 20 pictures an animal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COMMON, OWN, PICTURE = 0.08, 0.43, 0.52  # of a squared length
PICTURES_EACH = 20
CROPS_ASKED = 1000  # of either kind


def draw_animals(rng: np.random.Generator, num_animals: int, width: int) -> NDArray[np.float32]:
    share = np.arange(1, width + 1) ** -1.5
    scale = np.sqrt(OWN * share / share.sum()).astype(np.float32)
    return rng.standard_normal((num_animals, width), np.float32) * scale


def draw_pictures(
    rng: np.random.Generator, animals_AD: NDArray[np.float32], own_N: NDArray[np.int64]
) -> NDArray[np.float32]:
    width = animals_AD.shape[1]
    share = 1.0 / (np.arange(1, width + 1) + 0.5)
    emb_ND = rng.standard_normal((len(own_N), width), np.float32)
    emb_ND *= np.sqrt(PICTURE * share / share.sum()).astype(np.float32)
    emb_ND += animals_AD[own_N]
    emb_ND += np.float32((COMMON / width) ** 0.5)
    emb_ND /= np.linalg.norm(emb_ND, axis=1, keepdims=True)
    return emb_ND


def draw_gallery(
    num_exemplars: int, width: int
) -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.float32]]:
    """Embeddings as stored, their animals, and the animals; the same for the same numbers."""
    rng = np.random.default_rng([num_exemplars, width])
    animals_AD = draw_animals(rng, num_exemplars // PICTURES_EACH, width)
    own_N = rng.permutation(np.repeat(np.arange(len(animals_AD)), PICTURES_EACH))
    emb_ND = np.empty((num_exemplars, width), np.float16)
    for start in range(0, num_exemplars, 4096):
        part = slice(start, start + 4096)
        emb_ND[part] = draw_pictures(rng, animals_AD, own_N[part])
    return emb_ND, own_N, animals_AD


def draw_crops(
    animals_AD: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """New pictures of enrolled animals, and of strangers."""
    rng = np.random.default_rng(seed)
    known = draw_pictures(rng, animals_AD, rng.integers(0, len(animals_AD), CROPS_ASKED))
    others = draw_animals(rng, CROPS_ASKED, animals_AD.shape[1])
    return known, draw_pictures(rng, others, np.arange(CROPS_ASKED))
