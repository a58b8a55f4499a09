"""What may be wrong in a gallery: labels, animals with two names, animals too alike, gaps.

Suggestions from similarities alone, the surest first; a person looks and decides. Pure functions
over embeddings; words and commands are in edge/commands/identity.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.identity.trials import Reference

# Both measured on real cows with wrong labels and second names put in (docs/LOG.md).
_LABEL_MARGIN = 0.10  # cosine by which another animal is closer than the own one
_LABEL_SHARE = 0.05  # of the exemplars at most: more would no longer be the surest
_VARIANCE = 0.98  # of the gallery's, kept when it is whitened
_ROWS_AN_AXIS = 5
_DUPLICATE_SIMILARITY = 0.25  # cosine of two animals' whitened means
_CHANCE = 3.0  # and so many standard deviations of what chance makes of it
MIN_EXEMPLARS = 50  # below, chance alone reaches any similarity


@dataclass(frozen=True, kw_only=True)
class WrongLabel:
    exemplar: int  # row of the reference
    own: int
    better: int  # the individual it is closer to
    margin: float  # cosine; how much closer


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two individuals; the first has more exemplars."""

    first: int
    second: int
    similarity: float  # cosine of their whitened means


@dataclass(frozen=True, kw_only=True)
class Confusing:
    """An exemplar that draws visits of another animal."""

    exemplar: int
    own: int
    other: int
    num_events: int


def wrong_labels(reference: Reference) -> list[WrongLabel]:
    """Exemplars much closer to another animal's than to those of their own animal.

    Closer: the mean of the best three, of as many as the own animal has beside it if fewer.
    """
    individual_M = reference.individual_M
    ids, own_M = np.unique(individual_M, return_inverse=True)
    own_M = own_M.reshape(-1)
    others_M = np.bincount(own_M)[own_M] - 1  # exemplars of the own animal beside this one
    found: list[WrongLabel] = []
    for row in np.flatnonzero(others_M > 0) if len(ids) > 1 else ():
        similarity_M = _similarities(reference, int(row))
        closest_I = _best_means(similarity_M, own_M, min(3, int(others_M[row])))
        own = closest_I[own_M[row]]
        closest_I[own_M[row]] = -np.inf
        better = int(np.argmax(closest_I))
        margin = float(closest_I[better] - own)
        if np.isfinite(own) and margin > _LABEL_MARGIN:
            found.append(
                WrongLabel(
                    exemplar=int(row),
                    own=int(individual_M[row]),
                    better=int(ids[better]),
                    margin=margin,
                )
            )
    found.sort(key=lambda one: -one.margin)
    return found[: max(1, round(_LABEL_SHARE * len(individual_M)))]


def _best_means(
    similarity_M: NDArray[np.float32], own_M: NDArray[np.int64], best: int
) -> NDArray[np.float64]:
    """For each individual the mean of its `best` highest similarities; -inf where it has none."""
    order = np.lexsort((-similarity_M, own_M))
    owner_M, sorted_M = own_M[order], similarity_M[order].astype(np.float64)
    first_I = np.searchsorted(owner_M, np.arange(int(own_M.max()) + 1))
    rank_M = np.arange(len(owner_M)) - first_I[owner_M]
    taken_M = (rank_M < best) & np.isfinite(sorted_M)
    count_I = np.bincount(owner_M[taken_M], minlength=len(first_I))
    sum_I = np.bincount(owner_M[taken_M], sorted_M[taken_M], minlength=len(first_I))
    return np.where(count_I > 0, sum_I / np.maximum(count_I, 1), -np.inf)


def _similarities(reference: Reference, row: int) -> NDArray[np.float32]:
    """Of one exemplar to all others on a flank that fits; -inf to itself."""
    similarity_M = reference.emb_MD @ reference.emb_MD[row]
    similarity_M[row] = -np.inf
    if reference.side_M is not None:
        similarity_M[reference.side_M * reference.side_M[row] == -1] = -np.inf
    return np.asarray(similarity_M)


def enough_for_duplicates(reference: Reference) -> bool:
    return len(reference.individual_M) >= MIN_EXEMPLARS


def duplicates(reference: Reference, wrong: Sequence[WrongLabel]) -> list[Pair]:
    """Pairs of individuals whose visits look alike where the gallery's pictures differ.

    Embeddings are whitened on the gallery first: what all pictures share, and what most of them
    vary in (light, pose), then counts no more than the rest. An individual is the mean of its
    visits. Exemplars with a likely wrong label are left out: one of them makes two animals look
    like one.
    """
    kept = _without(reference, [one.exemplar for one in wrong])
    if not enough_for_duplicates(kept):
        return []
    white_MD = _whitened(kept.emb_MD)
    groups, first_G, group_M = np.unique(kept.group_M, return_index=True, return_inverse=True)
    visit_GD = _unit(_means(white_MD, group_M.reshape(-1), len(groups)))
    ids, own_G = np.unique(kept.individual_M[first_G], return_inverse=True)
    mean_ID = _unit(_means(visit_GD, own_G.reshape(-1), len(ids)))
    similarity_II = np.triu(mean_ID @ mean_ID.T, 1)
    limit = max(_DUPLICATE_SIMILARITY, _CHANCE / np.sqrt(white_MD.shape[1]))
    counts = np.bincount(reference.individual_M, minlength=int(ids.max()) + 1)
    found: list[Pair] = []
    for first, second in zip(*np.nonzero(similarity_II >= limit), strict=True):
        pair = sorted((int(ids[first]), int(ids[second])), key=lambda one: -counts[one])
        similarity = float(similarity_II[first, second])
        found.append(Pair(first=pair[0], second=pair[1], similarity=similarity))
    return sorted(found, key=lambda one: -one.similarity)


def _without(reference: Reference, rows: list[int]) -> Reference:
    kept_M = ~np.isin(np.arange(len(reference.individual_M)), rows)
    return Reference(
        emb_MD=reference.emb_MD[kept_M],
        individual_M=reference.individual_M[kept_M],
        group_M=reference.group_M[kept_M],
        side_M=None if reference.side_M is None else reference.side_M[kept_M],
    )


def _whitened(emb_MD: NDArray[np.float32]) -> NDArray[np.float64]:
    """Unit rows with the same variance in every direction, the small ones left out.

    One direction needs some pictures to be estimated from: of M at most M / 5 are kept.
    """
    centred_MD = emb_MD.astype(np.float64) - emb_MD.mean(axis=0)
    variance_D, axes_DD = np.linalg.eigh(centred_MD.T @ centred_MD)
    variance_D, axes_DD = variance_D[::-1], axes_DD[:, ::-1]
    share_D = np.cumsum(variance_D) / variance_D.sum()
    enough = int(np.searchsorted(share_D, _VARIANCE)) + 1
    num_axes = min(enough, len(emb_MD) // _ROWS_AN_AXIS)
    return _unit(centred_MD @ axes_DD[:, :num_axes] / np.sqrt(variance_D[:num_axes]))


def _means(
    row_ND: NDArray[np.float64], group_N: NDArray[np.int64], num_groups: int
) -> NDArray[np.float64]:
    sum_GD = np.zeros((num_groups, row_ND.shape[1]))
    np.add.at(sum_GD, group_N, row_ND)
    return np.asarray(sum_GD / np.bincount(group_N, minlength=num_groups)[:, None])


def _unit(row_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(row_ND / np.maximum(np.linalg.norm(row_ND, axis=1, keepdims=True), 1e-12))


def confusing(reference: Reference) -> list[Confusing]:
    """Exemplars that are the nearest to two or more visits of another animal."""
    drawn: dict[tuple[int, int], set[int]] = {}
    for row in range(len(reference.individual_M)):
        similarity_M = _similarities(reference, row)
        similarity_M[reference.group_M == reference.group_M[row]] = -np.inf
        nearest = int(np.argmax(similarity_M))
        own = int(reference.individual_M[row])
        if np.isfinite(similarity_M[nearest]) and reference.individual_M[nearest] != own:
            drawn.setdefault((nearest, own), set()).add(int(reference.group_M[row]))
    found = [
        Confusing(
            exemplar=exemplar,
            own=int(reference.individual_M[exemplar]),
            other=other,
            num_events=len(groups),
        )
        for (exemplar, other), groups in drawn.items()
        if len(groups) > 1
    ]
    return sorted(found, key=lambda one: -one.num_events)
