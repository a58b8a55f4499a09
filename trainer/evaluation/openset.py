"""Animals that are not in the gallery: are the known named, and the unknown told apart?

A share of the animals is held out of the gallery; their queries should be rejected as new.
BAKS, BAUS and their geometric mean as in WildlifeReID-10k and AnimalCLEF: accuracies balanced
over animals, so that one with many pictures counts no more than one with few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from edge import calibrate
from edge.decide import Thresholds
from edge.errors import InputError
from edge.identity.trials import Reference
from edge.identity.votes import votes
from trainer.evaluation.trial import Trial

SEEDS = (0, 1, 2, 3, 4)
RULE = (
    f"threshold fitted on the gallery alone, as a device does (one encounter, else one picture, "
    f"left out; {1 - calibrate.DEFAULT.wrong_names:.0%} of strangers refused)"
)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Over seeds; the standard deviation is 0 with a single one."""

    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class OpenSet:
    """All in [0, 1]."""

    baks: Spread  # known animals: named, and rightly
    baus: Spread  # unknown animals: rejected as new
    geometric_mean: Spread  # of the two, seed by seed
    auroc: Spread  # known above unknown by best similarity; needs no threshold
    seeds: tuple[int, ...]
    num_held_out: int  # animals, each seed
    num_known: float  # queries, mean over seeds
    num_unknown: float


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """One seed's queries."""

    known_Q: NDArray[np.bool_]  # an own picture is in the gallery and not excluded
    right_Q: NDArray[np.bool_]  # the best animal is the query's own
    vote_Q: NDArray[np.float64]  # what the threshold is put to
    similarity_Q: NDArray[np.float64]  # of the best animal
    threshold: float


def open_set(
    trial: Trial, emb_ND: NDArray[np.float32], share: float, seeds: Sequence[int]
) -> OpenSet:
    """BAKS and BAUS of unit rows with `share` of the animals held out, over several draws.

    A query is unknown where its gallery shows no picture of its animal: held out, or never there.
    Raises InputError where the gallery keeps fewer animals than a threshold can be fitted on.
    """
    held_out = [_hold_out(trial, share, seed) for seed in seeds]
    draws = [_draw(trial, emb_ND, names) for names in held_out]
    scores = np.array([_scores(trial, one) for one in draws])
    spreads = [Spread(mean=float(one.mean()), sd=_sd(one)) for one in scores.T]
    return OpenSet(
        baks=spreads[0],
        baus=spreads[1],
        geometric_mean=spreads[2],
        auroc=spreads[3],
        seeds=tuple(seeds),
        num_held_out=len(held_out[0]),
        num_known=float(np.mean([one.known_Q.sum() for one in draws])),
        num_unknown=float(np.mean([(~one.known_Q).sum() for one in draws])),
    )


def _sd(value_S: NDArray[np.float64]) -> float:
    return float(value_S.std(ddof=1)) if len(value_S) > 1 else 0.0


def _hold_out(trial: Trial, share: float, seed: int) -> NDArray[np.str_]:
    """Animals that have both queries and gallery pictures, drawn by seed alone."""
    both = np.intersect1d(trial.query_identity_Q, trial.gallery_identity_G)
    num_held_out = min(max(round(share * len(both)), 1), len(both) - 1)
    if num_held_out < 1:
        raise InputError("--open-set needs two animals that have queries and gallery pictures")
    return np.random.default_rng(seed).choice(both, num_held_out, replace=False)


def _draw(trial: Trial, emb_ND: NDArray[np.float32], held_out: NDArray[np.str_]) -> _Draw:
    division = trial.division
    kept_G = ~np.isin(trial.gallery_identity_G, held_out)
    rows_G = division.gallery_G[kept_G]
    names, own_G = np.unique(trial.gallery_identity_G[kept_G], return_inverse=True)
    thresholds = _fit(emb_ND[rows_G], own_G, division.group_N[rows_G])
    similarity_QG = emb_ND[division.query_Q] @ emb_ND[rows_G].T
    similarity_QG[division.excluded_QG[:, kept_G]] = -np.inf
    best_QI = np.full((len(similarity_QG), len(names)), -np.inf)
    for individual in range(len(names)):
        best_QI[:, individual] = similarity_QG[:, own_G == individual].max(axis=1)
    vote_QI = votes(similarity_QG, best_QI, emb_ND[rows_G], own_G).astype(np.float64)
    present_QI = (names == trial.query_identity_Q[:, None]) & np.isfinite(best_QI)
    return _Draw(
        known_Q=present_QI.any(axis=1),
        right_Q=present_QI[np.arange(len(vote_QI)), vote_QI.argmax(axis=1)],
        vote_Q=vote_QI.max(axis=1),
        similarity_Q=best_QI.max(axis=1),
        threshold=thresholds.match,
    )


def _fit(
    emb_MD: NDArray[np.float32], individual_M: NDArray[np.int64], group_M: NDArray[np.int64]
) -> Thresholds:
    reference = Reference(
        emb_MD=emb_MD, individual_M=individual_M.astype(np.int64), group_M=group_M
    )
    fitted = calibrate.fit(reference, "gallery")
    if fitted is None:
        raise InputError(
            f"--open-set leaves {len(np.unique(individual_M))} animals in the gallery, and a "
            f"threshold is fitted on {calibrate.MIN_INDIVIDUALS} at least; hold out a smaller "
            "share, or bring more animals"
        )
    return fitted


def _scores(trial: Trial, draw: _Draw) -> tuple[float, float, float, float]:
    """BAKS, BAUS, geometric mean, AUROC of one draw."""
    if draw.known_Q.all() or not draw.known_Q.any():
        raise InputError(
            "--open-set leaves only known or only unknown animals among the queries; give "
            "another share"
        )
    identity_Q = trial.query_identity_Q
    accepted_Q = draw.vote_Q >= draw.threshold
    known_Q = draw.known_Q
    baks = _balanced((accepted_Q & draw.right_Q)[known_Q], identity_Q[known_Q])
    baus = _balanced(~accepted_Q[~known_Q], identity_Q[~known_Q])
    auroc = float(roc_auc_score(known_Q, draw.similarity_Q))
    return baks, baus, float(np.sqrt(baks * baus)), auroc


def _balanced(right_Q: NDArray[np.bool_], identity_Q: NDArray[np.str_]) -> float:
    """Mean over animals of the share of their queries that are right."""
    _, own_Q = np.unique(identity_Q, return_inverse=True)
    return float(np.mean(np.bincount(own_Q, weights=right_Q) / np.bincount(own_Q)))
