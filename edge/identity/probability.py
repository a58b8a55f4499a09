"""From a similarity's value to the probability that the best name is right.

Two forms, Platt's logistic curve (1999) and isotonic regression (pool adjacent violators, Ayer et
al. 1955); the one with the lower log loss on individuals it was not fitted on is kept. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_FOLDS = 5
_NEWTON_STEPS = 50
_RIDGE = 1e-3  # keeps the slope finite where right and wrong do not overlap


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Probability by linear interpolation between points, constant outside of them."""

    form: Literal["logistic", "isotonic"]
    log_loss: float  # a trial, on individuals left out
    other_log_loss: float  # of the form that was not taken
    value_P: tuple[float, ...]  # ascending
    probability_P: tuple[float, ...]  # never falling

    def probability(self, value: float) -> float:
        return float(np.interp(value, self.value_P, self.probability_P))


def fit(
    value_N: NDArray[np.float64], right_N: NDArray[np.bool_], individual_N: NDArray[np.int64]
) -> Curve | None:
    """The better curve of the two, or None where all trials are right or all are wrong."""
    if right_N.all() or not right_N.any():
        return None
    fold_N = np.unique(individual_N, return_inverse=True)[1] % _FOLDS
    losses = {form: _held_out(form, value_N, right_N, fold_N) for form in _FITTERS}
    form: Literal["logistic", "isotonic"] = (
        "logistic" if losses["logistic"] <= losses["isotonic"] else "isotonic"
    )
    points = _FITTERS[form](value_N, right_N)
    return Curve(
        form=form,
        log_loss=losses[form],
        other_log_loss=max(losses.values()),
        value_P=tuple(points[0].tolist()),
        probability_P=tuple(points[1].tolist()),
    )


def _held_out(
    form: str,
    value_N: NDArray[np.float64],
    right_N: NDArray[np.bool_],
    fold_N: NDArray[np.int64],
) -> float:
    """Mean log loss of trials whose individual took no part in the fit."""
    probability_N = np.full(len(value_N), right_N.mean())
    for fold in np.unique(fold_N):
        inside = fold_N != fold
        if inside.any() and 0 < right_N[inside].sum() < inside.sum():
            points = _FITTERS[form](value_N[inside], right_N[inside])
            probability_N[~inside] = np.interp(value_N[~inside], *points)
    probability_N = np.clip(probability_N, 1e-3, 1 - 1e-3)
    return float(-np.mean(np.log(np.where(right_N, probability_N, 1 - probability_N))))


_Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def _logistic(value_N: NDArray[np.float64], right_N: NDArray[np.bool_]) -> _Points:
    """Newton's method on Platt's softened targets, as a table of 64 points."""
    num_right, num_wrong = right_N.sum(), (~right_N).sum()
    target_N = np.where(right_N, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    centre, scale = float(value_N.mean()), float(value_N.std()) or 1.0
    x_N2 = np.stack([(value_N - centre) / scale, np.ones(len(value_N))], axis=1)
    weight_2 = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        fitted_N = _sigmoid(x_N2 @ weight_2)
        gradient_2 = x_N2.T @ (fitted_N - target_N) + _RIDGE * weight_2
        spread_N = np.maximum(fitted_N * (1 - fitted_N), 1e-6)
        hessian_22 = (x_N2 * spread_N[:, None]).T @ x_N2 + _RIDGE * np.eye(2)
        step_2 = np.linalg.solve(hessian_22, gradient_2)
        weight_2 -= np.clip(step_2, -2.0, 2.0)
        if np.abs(step_2).max() < 1e-8:
            break
    reach = 3 * scale
    grid_P = np.linspace(value_N.min() - reach, value_N.max() + reach, 64)
    slope = max(float(weight_2[0]), 0.0)  # closer never means less sure
    return grid_P, _sigmoid(slope * (grid_P - centre) / scale + weight_2[1])


def _sigmoid(x_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x_N, -30, 30))))


def _isotonic(value_N: NDArray[np.float64], right_N: NDArray[np.bool_]) -> _Points:
    """The never-falling step function nearest to the trials; a block's ends are its points."""
    order = np.argsort(value_N, kind="stable")
    blocks: list[list[float]] = []  # right, trials, lowest and highest value
    for value, right in zip(value_N[order], right_N[order], strict=True):
        blocks.append([float(right), 1.0, float(value), float(value)])
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1], blocks[-1][2], last[3]]
    points = [(value, _share(block)) for block in blocks for value in dict.fromkeys(block[2:])]
    return np.array([one[0] for one in points]), np.array([one[1] for one in points])


def _share(block: list[float]) -> float:
    return block[0] / block[1]


_FITTERS = {"logistic": _logistic, "isotonic": _isotonic}
