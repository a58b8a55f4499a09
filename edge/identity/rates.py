"""An error rate and how well it is known: an interval for as many visits again of other animals.

Visits of one animal err together, and so do visits taken for one animal: they count for less than
as many of different animals. The number of events is divided by the design effect of both kinds
of clusters (Cameron, Gelbach and Miller 2011), halved, as the next visits vary like those it was
measured on, and put into Wilson's interval (1927) with Student's t for as many individuals, as
Korn and Graubard (1998) do with the exact one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964  # two-sided 95 %
_NONE_IN_THE_NEXT = 3.69  # below so many errors the next sample has none in 1 of 40 cases: e**-3.69


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of events, with its 95 % interval; all in [0, 1]."""

    share: float
    low: float
    high: float
    num_events: int
    num_individuals: int

    @property
    def width(self) -> float:
        return self.high - self.low


def measure(
    is_so_N: NDArray[np.bool_],
    individual_N: NDArray[np.int64],
    taken_for_N: NDArray[np.int64] | None = None,
) -> Rate | None:
    """The share of events of which it is so, or None without events.

    `individual_N` is whose event it is, `taken_for_N` the most similar other animal, if that is
    what makes it so.
    """
    num_events = len(is_so_N)
    if not num_events:
        return None
    share = float(is_so_N.mean())
    num_individuals = len(np.unique(individual_N))
    effective = num_events / _design_effect(is_so_N, individual_N, taken_for_N)
    low, high = _wilson(share, effective / 2, _t_quantile(num_individuals - 1))
    if share * effective < _NONE_IN_THE_NEXT:
        low = 0.0
    return Rate(
        share=share,
        low=low,
        high=high,
        num_events=num_events,
        num_individuals=num_individuals,
    )


def events_for(rate: Rate, width: float) -> int:
    """About how many events would make the interval no wider than `width`."""
    return ceil(rate.num_events * (rate.width / width) ** 2)


def _design_effect(
    is_so_N: NDArray[np.bool_],
    individual_N: NDArray[np.int64],
    taken_for_N: NDArray[np.int64] | None,
) -> float:
    """How much wider the rate varies than over independent events; at least 1.

    Where no event or every event errs nothing shows how they cluster: half of the events of an
    animal are then taken for repetitions.
    """
    share, num_events = float(is_so_N.mean()), len(is_so_N)
    num_individuals = len(np.unique(individual_N))
    if num_individuals < 2:
        return float(num_events)
    if share in (0.0, 1.0):
        return (1 + num_events / num_individuals) / 2
    residual_N = is_so_N.astype(np.float64) - share
    squares = _squares(residual_N, individual_N)
    if taken_for_N is not None:
        pair_N = individual_N * (int(taken_for_N.max()) + 1) + taken_for_N
        both = _squares(residual_N, taken_for_N) - _squares(residual_N, pair_N)
        squares += max(both, 0.0)
    variance = num_individuals / (num_individuals - 1) * squares
    return float(np.clip(variance / (num_events * share * (1 - share)), 1.0, num_events / 2))


def _squares(residual_N: NDArray[np.float64], cluster_N: NDArray[np.int64]) -> float:
    """Sum over clusters of the squared sum of their residuals."""
    own_N = np.unique(cluster_N, return_inverse=True)[1]
    return float((np.bincount(own_N, weights=residual_N) ** 2).sum())


def _wilson(share: float, effective: float, z: float) -> tuple[float, float]:
    """Wilson 1927, for an effective number of trials."""
    centre = share + z * z / (2 * effective)
    half = z * sqrt(share * (1 - share) / effective + z * z / (4 * effective**2))
    scale = 1 + z * z / effective
    return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)


def _t_quantile(degrees: int) -> float:
    """Student's t at 97.5 %, by its expansion around the normal (Abramowitz, Stegun 26.7.5)."""
    if degrees < 3:
        return 4.3
    z = _Z
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3
