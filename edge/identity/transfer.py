"""Whether the rates hold on other animals: thresholds of one half of them put to the other half.

Which animals happen to look alike decides more about wrong names than the number of visits does,
and no formula over visits knows it. So the animals are halved again and again, by seed, and the
interval of a rate is widened to the range of what the halves do to each other. Halves are smaller
than the whole, so that the range is rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from edge import calibrate
from edge.calibrate import Calibration, Wanted
from edge.identity.rates import Rate
from edge.identity.trials import Table, run_trials

_HALVINGS = 40
_SEED = 0


def widen(calibration: Calibration, table: Table, wanted: Wanted) -> Calibration:
    """The calibration with intervals that hold the central 95 % of what the halves do."""
    done = list(_halvings(calibration, table, wanted))
    strangers = _widened(calibration.strangers_named, [one.strangers_named for one in done])
    reviewed = _widened(calibration.reviewed, [one.reviewed for one in done])
    assert strangers is not None and reviewed is not None
    return replace(
        calibration,
        strangers_named=strangers,
        known_misnamed=_widened(calibration.known_misnamed, [one.known_misnamed for one in done]),
        known_called_new=_widened(
            calibration.known_called_new, [one.known_called_new for one in done]
        ),
        known_named=_widened(calibration.known_named, [one.known_named for one in done]),
        reviewed=reviewed,
    )


def _halvings(calibration: Calibration, table: Table, wanted: Wanted) -> Iterator[Calibration]:
    thresholds = calibration.thresholds
    statistic, source = thresholds.statistic, thresholds.source
    groups = [one.group for one in thresholds.apart]
    rng = np.random.default_rng(_SEED)
    for _ in range(_HALVINGS):
        column_I = rng.permutation(len(table.individual_I))
        half = len(column_I) // 2
        first = run_trials(table, statistic, column_I[:half])
        second = run_trials(table, statistic, column_I[half:])
        yield calibrate.rates_at(second, calibrate.place(first, statistic, source, wanted, groups))


def _widened(rate: Rate | None, others: Sequence[Rate | None]) -> Rate | None:
    shares = [one.share for one in others if one is not None]
    if rate is None or not shares:
        return rate
    low, high = np.quantile(shares, (0.025, 0.975))
    return replace(rate, low=min(rate.low, float(low)), high=max(rate.high, float(high)))
