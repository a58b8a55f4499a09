"""An error rate and how well it is known: Wilson's interval over events of a few animals.

Visits of one animal err together, so they count for less than as many of different animals: the
number of events is divided by the design effect between individuals before the interval is taken,
with Student's t for as many individuals (Korn and Graubard 1998 do so with the exact interval).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964  # two-sided 95 %


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


def measure(is_so_N: NDArray[np.bool_], individual_N: NDArray[np.int64]) -> Rate | None:
    """The share of events of which it is so, or None without events."""
    num_events = len(is_so_N)
    if not num_events:
        return None
    _, own_N = np.unique(individual_N, return_inverse=True)
    events_I = np.bincount(own_N)
    hits_I = np.bincount(own_N, weights=is_so_N)
    share = float(is_so_N.mean())
    effective = num_events / _design_effect(share, hits_I, events_I)
    low, high = _wilson(share, effective, _t_quantile(len(events_I) - 1))
    return Rate(
        share=share,
        low=low,
        high=high,
        num_events=num_events,
        num_individuals=len(events_I),
    )


def events_for(rate: Rate, width: float) -> int:
    """About how many events would make the interval no wider than `width`."""
    return ceil(rate.num_events * (rate.width / width) ** 2)


def _design_effect(
    share: float, hits_I: NDArray[np.float64], events_I: NDArray[np.int64]
) -> float:
    """How much wider the rate varies than over independent events; at least 1.

    Where no event or every event errs nothing shows how they cluster: half of the events of an
    animal are then taken to be repetitions.
    """
    num_individuals, num_events = len(events_I), int(events_I.sum())
    largest = num_events / num_individuals
    if num_individuals < 2:
        return max(float(num_events), 1.0)
    if share in (0.0, 1.0):
        return max(1.0, (1 + largest) / 2)
    residual_I = hits_I - share * events_I
    variance = num_individuals / (num_individuals - 1) * float((residual_I**2).sum())
    independent = num_events * share * (1 - share)
    return float(np.clip(variance / independent, 1.0, max(num_events / num_individuals, 1.0)))


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
