"""Open set on labelled crops: who is named wrongly, at which share left to a person.

Four ways to decide, on the same queries: (a) each frame by the most similar picture and one fixed
cosine, (b) each frame by the thresholds that travel with the model, (c) each frame by thresholds
calibrated on the gallery, (d) each event by thresholds calibrated on the gallery, its frames
weighted by quality. Every visit counts once: a frame of (a), (b), (c) counts as its share of the
event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge import calibrate
from edge.decide import Statistic, Thresholds, rank
from edge.identity.trials import Reference
from edge.identity.votes import votes

FIXED = 0.5  # the cosine of (a)
HELD_OUT = 0.3  # of the animals are never enrolled
SHARES = (0.1, 0.2, 0.4)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Embeddings (unit rows) and what is known of each crop."""

    emb_ND: NDArray[np.float32]
    quality_N: NDArray[np.float64]
    identity_N: NDArray[np.str_]
    event_N: NDArray[np.str_]  # unique over identities
    split_N: NDArray[np.str_]

    def of(self, kept_N: NDArray[np.bool_]) -> Crops:
        return Crops(
            emb_ND=self.emb_ND[kept_N],
            quality_N=self.quality_N[kept_N],
            identity_N=self.identity_N[kept_N],
            event_N=self.event_N[kept_N],
            split_N=self.split_N[kept_N],
        )


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """One row a query (frame or event)."""

    value_Q: NDArray[np.float64]
    cosine_Q: NDArray[np.float64]  # to the best name
    right_Q: NDArray[np.bool_]  # the best name is the animal's own
    known_Q: NDArray[np.bool_]
    name_Q: NDArray[np.str_]
    identity_Q: NDArray[np.str_]
    weight_Q: NDArray[np.float64]  # sums to 1
    emb_QD: NDArray[np.float32]


def reference_of(crops: Crops) -> Reference:
    return Reference(
        emb_MD=crops.emb_ND,
        individual_M=np.unique(crops.identity_N, return_inverse=True)[1].astype(np.int64),
        group_M=np.unique(crops.event_N, return_inverse=True)[1].astype(np.int64),
    )


def trial(crops: Crops, seed: int, of_model: Thresholds | None) -> list[dict[str, str]]:
    """One row a way to decide."""
    animals = np.unique(crops.identity_N)
    rng = np.random.default_rng(seed)
    strangers = rng.choice(animals, round(HELD_OUT * len(animals)), replace=False)
    enrolled_N = (crops.split_N == "gallery") & ~np.isin(crops.identity_N, strangers)
    gallery, queries = crops.of(enrolled_N), crops.of(crops.split_N == "query")
    fitted = calibrate.fit(reference_of(gallery), "gallery")
    assert fitted is not None, "the gallery keeps fewer animals than a threshold is fitted on"
    fixed = Thresholds(
        statistic="similarity",
        match=FIXED,
        new=FIXED,
        source="fixed",
        wrong_name_rate=None,
        false_new_rate=None,
        named_rate=None,
        misnamed_rate=None,
    )
    ways = {"a": (fixed, "frame"), "b": (of_model, "frame"), "c": (fitted, "frame")}
    ways |= {"d": (fitted, "event"), "d unweighted": (fitted, "event unweighted")}
    return [
        {"way": way, "statistic": thresholds.statistic}
        | _figures(_answers(gallery, queries, thresholds.statistic, unit), thresholds)
        for way, (thresholds, unit) in ways.items()
        if thresholds is not None
    ]


def _answers(gallery: Crops, queries: Crops, statistic: Statistic, unit: str) -> _Answers:
    names, own_M = np.unique(gallery.identity_N, return_inverse=True)
    similarity_NM = queries.emb_ND @ gallery.emb_ND.T
    best_NI = np.stack([similarity_NM[:, own_M == one].max(axis=1) for one in range(len(names))], 1)
    vote_NI = votes(similarity_NM, best_NI, gallery.emb_ND, own_M) if statistic == "vote" else None
    events, event_N = np.unique(queries.event_N, return_inverse=True)
    if unit == "frame":
        groups = [np.array([row]) for row in range(len(event_N))]
    else:
        groups = [np.flatnonzero(event_N == one) for one in range(len(events))]
    weighted = unit == "event"
    rankings = [
        rank(
            list(names),
            best_NI[rows],
            queries.quality_N[rows].tolist() if weighted else None,
            None if vote_NI is None else vote_NI[rows],
        )
        for rows in groups
    ]
    first = np.array([rows[0] for rows in groups])
    weight_Q = 1 / np.bincount(event_N)[event_N[first]] if unit == "frame" else np.ones(len(first))
    name_Q = np.array([one.individual_ids[0] for one in rankings])
    return _Answers(
        value_Q=np.array([one.value(statistic) for one in rankings]),
        cosine_Q=np.array([one.similarities[0] for one in rankings]),
        right_Q=name_Q == queries.identity_N[first],
        known_Q=np.isin(queries.identity_N[first], names),
        name_Q=name_Q,
        identity_Q=queries.identity_N[first],
        weight_Q=weight_Q / weight_Q.sum(),
        emb_QD=_unit(np.stack([queries.emb_ND[rows].mean(axis=0) for rows in groups])),
    )


def _figures(answers: _Answers, thresholds: Thresholds) -> dict[str, str]:
    named_Q = answers.value_Q >= thresholds.match
    new_Q = answers.value_Q < thresholds.new
    wrong_Q, known_Q, weight_Q = ~answers.right_Q, answers.known_Q, answers.weight_Q
    baks = _balanced(named_Q & answers.right_Q, answers.identity_Q, known_Q)
    baus = _balanced(~named_Q, answers.identity_Q, ~known_Q)
    figures = {
        "rank1": _share(answers.right_Q, weight_Q, known_Q),
        "wrong": float(weight_Q[named_Q & wrong_Q].sum()),
        "strangers_named": _share(named_Q, weight_Q, ~known_Q),
        "ghosts": _share(new_Q, weight_Q, known_Q),
        "review": float(weight_Q[~named_Q & ~new_Q].sum()),
        "baks": baks,
        "baus": baus,
        "geometric": float(np.sqrt(baks * baus)),
        "count_error": _count_error(answers, thresholds, named_Q, new_Q),
    }
    figures |= {f"wrong_at_{share:.0%}": _wrong_at(answers, share) for share in SHARES}
    return {name: f"{value:.4f}" for name, value in figures.items()}


def _wrong_at(answers: _Answers, share: float) -> float:
    """Visits named wrongly when the least sure `share` of them goes to a person, the rest named."""
    order = np.argsort(answers.value_Q, kind="stable")
    left = np.cumsum(answers.weight_Q[order]) > share
    return float(answers.weight_Q[order][left & ~answers.right_Q[order]].sum())


def _count_error(
    answers: _Answers,
    thresholds: Thresholds,
    named_Q: NDArray[np.bool_],
    new_Q: NDArray[np.bool_],
) -> float:
    """How far the number of animals told is off, as a share of the true number.

    Told are the names given, and new ones: what is new joins a minted animal it is as similar to
    as a match must be (the median cosine of the names given, where another statistic decides).
    """
    cosine = thresholds.match
    if thresholds.statistic != "similarity":
        cosine = float(np.median(answers.cosine_Q[named_Q])) if named_Q.any() else FIXED
    minted: list[NDArray[np.float32]] = []
    for emb_D in answers.emb_QD[new_Q]:
        if not minted or float((np.stack(minted) @ emb_D).max()) < cosine:
            minted.append(emb_D)
    told = len(np.unique(answers.name_Q[named_Q])) + len(minted)
    true = len(np.unique(answers.identity_Q))
    return (told - true) / true


def _share(
    is_so_Q: NDArray[np.bool_], weight_Q: NDArray[np.float64], among_Q: NDArray[np.bool_]
) -> float:
    return float(weight_Q[is_so_Q & among_Q].sum() / weight_Q[among_Q].sum())


def _balanced(
    is_so_Q: NDArray[np.bool_], identity_Q: NDArray[np.str_], among_Q: NDArray[np.bool_]
) -> float:
    _, own_Q = np.unique(identity_Q[among_Q], return_inverse=True)
    return float(np.mean(np.bincount(own_Q, weights=is_so_Q[among_Q]) / np.bincount(own_Q)))


def _unit(emb_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(emb_ND / np.linalg.norm(emb_ND, axis=1, keepdims=True), np.float32)
