"""Whether the rates hold on other animals: thresholds of one half of them put to the other half.

Which animals happen to look alike decides more about wrong names than the number of visits does,
and no formula over visits knows it. So the animals are halved again and again, by seed, and the
interval of a rate is widened to the range of what the halves do to each other. Halves are smaller
than the whole, so that the range is rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edge import calibrate
from edge.calibrate import Calibration, Table, Wanted
from edge.rates import Rate

_HALVINGS = 40
_SEED = 0
_NAMES = ("strangers_named", "known_misnamed", "known_called_new", "known_named", "reviewed")


def widen(calibration: Calibration, table: Table, wanted: Wanted) -> Calibration:
    """The calibration with intervals that hold the central 95 % of what the halves do."""
    done = list(_halvings(calibration, table, wanted))
    return replace(
        calibration,
        **{name: _widened(getattr(calibration, name), _shares(done, name)) for name in _NAMES},
    )


def _halvings(calibration: Calibration, table: Table, wanted: Wanted) -> Iterator[Calibration]:
    thresholds = calibration.thresholds
    statistic = thresholds.statistic
    rng = np.random.default_rng(_SEED)
    for _ in range(_HALVINGS):
        column_I = rng.permutation(len(table.individual_I))
        half = len(column_I) // 2
        first = calibrate.run_trials(table, statistic, column_I[:half])
        second = calibrate.run_trials(table, statistic, column_I[half:])
        fitted = calibrate.measure(first, statistic, thresholds.source, wanted).thresholds
        yield calibrate.rates_at(second, statistic, thresholds.source, fitted.match, fitted.new)


def _shares(done: list[Calibration], name: str) -> list[float]:
    found: list[Rate | None] = [getattr(one, name) for one in done]
    return [one.share for one in found if one is not None]


def _widened(rate: Rate | None, shares: list[float]) -> Rate | None:
    if rate is None or not shares:
        return rate
    low, high = np.quantile(shares, (0.025, 0.975))
    return replace(rate, low=min(rate.low, float(low)), high=max(rate.high, float(high)))
