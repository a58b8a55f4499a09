"""What may be wrong in a gallery: labels, animals with two names, animals too alike, gaps.

Suggestions from similarities alone, the surest first; a person looks and decides. Pure functions
over embeddings; words and commands are in edge/cli_identity.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.calibrate import Reference, tabulate

# Both measured on real cows with wrong labels and second names put in (docs/LOG.md).
_LABEL_MARGIN = 0.10  # cosine by which another animal is closer than the own one
_LABEL_SHARE = 0.05  # of the exemplars at most: more would no longer be the surest
_DUPLICATE_MARGIN = -0.01  # how far behind the nearest third animal the other half may lie
_TOLD_APART = 0.10  # cosine by which an animal's own other events are closer


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
    margin: float  # cosine


@dataclass(frozen=True, kw_only=True)
class Confusing:
    """An exemplar that draws visits of another animal."""

    exemplar: int
    own: int
    other: int
    num_events: int


def wrong_labels(reference: Reference) -> list[WrongLabel]:
    """Exemplars much closer to another animal's than to any of their own animal's."""
    individual_M = reference.individual_M
    found: list[WrongLabel] = []
    for row in range(len(individual_M)):
        similarity_M = _similarities(reference, row)
        own_M = individual_M == individual_M[row]
        if own_M.sum() < 2 or own_M.all():
            continue
        other = int(np.argmax(np.where(own_M, -np.inf, similarity_M)))
        margin = float(similarity_M[other] - similarity_M[own_M].max())
        if margin > _LABEL_MARGIN:
            found.append(
                WrongLabel(
                    exemplar=row,
                    own=int(individual_M[row]),
                    better=int(individual_M[other]),
                    margin=margin,
                )
            )
    found.sort(key=lambda one: -one.margin)
    return found[: max(1, round(_LABEL_SHARE * len(individual_M)))]


def _similarities(reference: Reference, row: int) -> NDArray[np.float32]:
    """Of one exemplar to all others on a flank that fits; -inf to itself."""
    similarity_M = reference.emb_MD @ reference.emb_MD[row]
    similarity_M[row] = -np.inf
    if reference.side_M is not None:
        similarity_M[reference.side_M * reference.side_M[row] == -1] = -np.inf
    return np.asarray(similarity_M)


def duplicates(reference: Reference) -> list[Pair]:
    """Pairs of individuals whose visits are as close to each other as to nobody else.

    Exemplars with a likely wrong label are left out: one of them makes two animals look like one.
    """
    table = tabulate(_without(reference, [one.exemplar for one in wrong_labels(reference)]))
    numbers = table.individual_I
    counts = np.bincount(reference.individual_M, minlength=int(numbers.max()) + 1)
    found: list[Pair] = []
    for first in range(len(numbers)):
        for second in range(first + 1, len(numbers)):
            margin = _closer_than_others(table.mean_GI, table.own_G, first, second)
            if margin is not None and margin > _DUPLICATE_MARGIN:
                pair = sorted((numbers[first], numbers[second]), key=lambda one: -counts[one])
                found.append(Pair(first=int(pair[0]), second=int(pair[1]), margin=margin))
    return sorted(found, key=lambda one: -one.margin)


def _without(reference: Reference, rows: list[int]) -> Reference:
    kept_M = ~np.isin(np.arange(len(reference.individual_M)), rows)
    return Reference(
        emb_MD=reference.emb_MD[kept_M],
        individual_M=reference.individual_M[kept_M],
        group_M=reference.group_M[kept_M],
        side_M=None if reference.side_M is None else reference.side_M[kept_M],
    )


def _closer_than_others(
    mean_GI: NDArray[np.float32], own_G: NDArray[np.int64], first: int, second: int
) -> float | None:
    """Median over both animals' events of the other's similarity less the best third animal's.

    None where the two are told apart: each closer to its own other events than to the other.
    """
    margins: list[NDArray[np.float32]] = []
    behind: list[NDArray[np.float32]] = []
    for own, other in ((first, second), (second, first)):
        rows = mean_GI[own_G == own]
        third = np.delete(rows, [own, other], axis=1)
        if third.shape[1]:
            margins.append(rows[:, other] - third.max(axis=1))
        behind.append(rows[:, own] - rows[:, other])
    behind_R = np.concatenate(behind)
    told_apart = behind_R[np.isfinite(behind_R)]
    if not margins or (len(told_apart) and float(np.median(told_apart)) > _TOLD_APART):
        return None
    margin_R = np.concatenate(margins)
    comparable = margin_R[np.isfinite(margin_R)]
    return float(np.median(comparable)) if len(comparable) else None


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
