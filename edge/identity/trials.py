"""Visits of known animals put to the gallery: each as itself, and as a stranger.

Each group (one event of one animal) is left out and matched against its animal's other groups,
and once more with its whole animal left out. What follows for thresholds is in edge/calibrate.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge.decide import Statistic, prevailing
from edge.identity.votes import votes

_MAX_COMPARISONS = 50_000_000  # crops against exemplars; a sample of the groups beyond
_MIN_GROUPS = 200  # in that sample
_MAX_CROPS = 8  # of a group that are compared
_BLOCK = 64  # groups that are compared at once
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Embeddings of known animals: one row an exemplar."""

    emb_MD: NDArray[np.float32]
    individual_M: NDArray[np.int64]  # 0 .. number of individuals - 1
    group_M: NDArray[np.int64]  # the event an exemplar comes from; unique over individuals
    side_M: NDArray[np.int64] | None = None  # -1 left, 1 right, 0 unknown; None: all unknown
    light_M: NDArray[np.int64] | None = None  # -1 day, 1 infrared, 0 unknown; None: all unknown


@dataclass(frozen=True, kw_only=True)
class Table:
    """What G groups have in common with I individuals: means over a group's frames.

    -inf where nothing is left to compare. Votes are counted twice, as they depend on who else is
    there; they have no columns where they were not asked for.
    """

    similarity_GI: NDArray[np.float32]  # to the best exemplar, the group's own left out
    vote_GI: NDArray[np.float32]  # the group's own exemplars left out
    stranger_vote_GI: NDArray[np.float32]  # its whole animal left out
    own_G: NDArray[np.int64]  # column of the group's own individual
    side_G: NDArray[np.int64]
    light_G: NDArray[np.int64]
    individual_I: NDArray[np.int64]  # as in the reference


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The statistic of each group as a known animal (K) and as a stranger (S)."""

    known_K: NDArray[np.float64]  # only groups whose animal has another group
    right_K: NDArray[np.bool_]  # whether the best individual is the right one
    own_K: NDArray[np.int64]  # the individual, as in the reference
    taken_for_K: NDArray[np.int64]  # the best individual
    side_K: NDArray[np.int64]
    light_K: NDArray[np.int64]
    stranger_S: NDArray[np.float64]
    own_S: NDArray[np.int64]
    taken_for_S: NDArray[np.int64]
    side_S: NDArray[np.int64]
    light_S: NDArray[np.int64]


def only(trials: Trials, is_in_K: NDArray[np.bool_], is_in_S: NDArray[np.bool_]) -> Trials:
    """Those of some groups."""
    kept = {
        name: value[is_in_K if name.endswith("_K") else is_in_S]
        for name, value in vars(trials).items()
    }
    return replace(trials, **kept)


def tabulate(reference: Reference, with_votes: bool = True) -> Table:
    """Every group against every individual; of a large gallery a sample of the groups, by seed."""
    order = np.argsort(reference.individual_M, kind="stable")
    individual_M, group_M = reference.individual_M[order], reference.group_M[order]
    side_M, light_M = (
        np.zeros(len(order), np.int64) if sign_M is None else sign_M[order]
        for sign_M in (reference.side_M, reference.light_M)
    )
    emb_MD = reference.emb_MD[order]
    individual_I, first_I = np.unique(individual_M, return_index=True)
    own_M = np.searchsorted(individual_I, individual_M)
    groups = _sampled_groups(group_M)
    shape = (len(groups), len(individual_I) if with_votes else 0)
    similarity_GI = np.empty((len(groups), len(individual_I)), np.float32)
    vote_GI, stranger_vote_GI = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for block, rows, start_B in _blocks(groups):
        similarity_NM = emb_MD[rows] @ emb_MD.T  # of many groups at once: a matrix product
        similarity_NM[group_M[rows, None] == group_M] = -np.inf
        if side_M[rows].any():  # the two sides of an animal are different pictures
            similarity_NM[side_M[rows, None] * side_M == -1] = -np.inf
        best_NI = np.maximum.reduceat(similarity_NM, first_I, axis=1)
        similarity_GI[block] = _means(best_NI, start_B)
        if not with_votes:
            continue
        vote_GI[block] = _means(votes(similarity_NM, best_NI, emb_MD, own_M), start_B)
        best_NI[np.arange(len(rows)), own_M[rows]] = -np.inf  # so that its animal is not near
        stranger_vote_GI[block] = _means(votes(similarity_NM, best_NI, emb_MD, own_M), start_B)
    return Table(
        similarity_GI=similarity_GI,
        vote_GI=vote_GI,
        stranger_vote_GI=stranger_vote_GI,
        own_G=own_M[[rows[0] for rows in groups]],
        side_G=np.array([prevailing(side_M[rows]) for rows in groups], np.int64),
        light_G=np.array([prevailing(light_M[rows]) for rows in groups], np.int64),
        individual_I=individual_I,
    )


def run_trials(
    table: Table, statistic: Statistic, column_J: NDArray[np.int64] | None = None
) -> Trials:
    """Every group in both parts; `column_J`: as if only these individuals were there.

    Votes of part of a table are those that these individuals have among all: nearly what they
    would have by themselves, and not counted anew.
    """
    column_J = np.arange(len(table.individual_I)) if column_J is None else np.sort(column_J)
    kept_G = np.isin(table.own_G, column_J)
    own_G, individual_J = (
        np.searchsorted(column_J, table.own_G[kept_G]),
        table.individual_I[column_J],
    )
    by_vote = statistic == "vote"
    mean_GJ = (table.vote_GI if by_vote else table.similarity_GI)[np.ix_(kept_G, column_J)]
    row_G = np.arange(len(own_G))
    is_known_G = np.isfinite(mean_GJ[row_G, own_G])
    best_G, known_G = mean_GJ.argmax(axis=1), mean_GJ.max(axis=1).astype(np.float64)
    if by_vote:
        mean_GJ = table.stranger_vote_GI[np.ix_(kept_G, column_J)]
    mean_GJ[row_G, own_G] = -np.inf
    taken_G, stranger_G = mean_GJ.argmax(axis=1), mean_GJ.max(axis=1).astype(np.float64)
    is_stranger_G = np.isfinite(stranger_G)
    side_G, light_G = table.side_G[kept_G], table.light_G[kept_G]
    return Trials(
        known_K=known_G[is_known_G],
        right_K=(best_G == own_G)[is_known_G],
        own_K=individual_J[own_G[is_known_G]],
        taken_for_K=individual_J[best_G[is_known_G]],
        side_K=side_G[is_known_G],
        light_K=light_G[is_known_G],
        stranger_S=stranger_G[is_stranger_G],
        own_S=individual_J[own_G[is_stranger_G]],
        taken_for_S=individual_J[taken_G[is_stranger_G]],
        side_S=side_G[is_stranger_G],
        light_S=light_G[is_stranger_G],
    )


def _sampled_groups(group_M: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of each group that is tried, at most eight a group."""
    rng = np.random.default_rng(_SEED)
    order = np.argsort(group_M, kind="stable")
    _, first_G = np.unique(group_M[order], return_index=True)
    groups = [rows[:_MAX_CROPS] for rows in np.split(order, first_G[1:])]
    limit = max(_MAX_COMPARISONS // max(len(group_M), 1), _MIN_GROUPS)
    if sum(len(rows) for rows in groups) <= limit:
        return groups
    kept: list[NDArray[np.int64]] = []
    for position in rng.permutation(len(groups)):
        if len(kept) >= _MIN_GROUPS and sum(map(len, kept)) >= limit:
            break
        kept.append(groups[position])
    return kept


def _blocks(
    groups: list[NDArray[np.int64]],
) -> Iterator[tuple[slice, NDArray[np.int64], list[int]]]:
    """(which groups, their rows one after the other, where each group's begin)."""
    for start in range(0, len(groups), _BLOCK):
        block = groups[start : start + _BLOCK]
        ends = np.cumsum([len(one) for one in block])
        yield slice(start, start + len(block)), np.concatenate(block), [0, *ends[:-1].tolist()]


def _means(value_NI: NDArray[np.float32], start_B: list[int]) -> NDArray[np.float32]:
    """Over the rows of each group."""
    return np.stack([rows.mean(axis=0) for rows in np.split(value_NI, start_B[1:])])
