"""A calibration as one SVG picture: who had which similarity, and where the thresholds lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.calibrate import Calibration

_WIDTH, _HEIGHT, _LEFT, _FOOT, _TOP = 720, 320, 20, 40, 50
_BINS = 40
_KINDS = (
    ("known, right animal first", "#2a7f62"),
    ("known, another first", "#c0392b"),
    ("strangers", "#7f8c8d"),
)


def draw(calibration: Calibration) -> str:
    """Histograms of the events as themselves and as strangers; needs no other file."""
    trials, thresholds = calibration.trials, calibration.thresholds
    groups = (
        trials.known_K[trials.right_K],
        trials.known_K[~trials.right_K],
        trials.stranger_S,
    )
    every_N = np.concatenate(groups)
    low, high = float(every_N.min()), float(every_N.max()) + 1e-6
    edges = np.linspace(low, high, _BINS + 1)
    counts = [np.histogram(one, edges)[0] for one in groups]
    top = max(int(one.max()) for one in counts) or 1

    def x_of(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return _LEFT + share * (_WIDTH - 2 * _LEFT)

    parts = [_frame(thresholds.statistic, low, high)]
    for number, ((name, colour), count_B) in enumerate(zip(_KINDS, counts, strict=True)):
        parts.append(_steps(count_B, top, colour))
        parts.append(f'<text x="{_LEFT + 220 * number}" y="18" fill="{colour}">{name}</text>')
    for name, value in (("match", thresholds.match), ("new", thresholds.new)):
        parts.append(
            f'<path d="M{x_of(value):.1f} {_TOP}V{_HEIGHT - _FOOT}" stroke="#111" '
            f'stroke-dasharray="4 3"/><text x="{x_of(value) + 3:.1f}" y="{_TOP - 4}">{name} '
            f"{value:.3f}</text>"
        )
    return "".join([*parts, "</svg>\n"])


def _frame(statistic: str, low: float, high: float) -> str:
    foot = _HEIGHT - _FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f'<path d="M{_LEFT} {foot}H{_WIDTH - _LEFT}" stroke="#111"/>'
        f'<text x="{_LEFT}" y="{foot + 16}">{low:.2f}</text>'
        f'<text x="{_WIDTH - _LEFT}" y="{foot + 16}" text-anchor="end">{high:.2f}</text>'
        f'<text x="{_WIDTH // 2}" y="{foot + 32}" text-anchor="middle">{statistic} of the most '
        "similar animal, one visit left out at a time</text>"
    )


def _steps(count_B: NDArray[np.int64], top: int, colour: str) -> str:
    foot, step = _HEIGHT - _FOOT, (_WIDTH - 2 * _LEFT) / _BINS
    path = f"M{_LEFT} {foot}"
    for number, count in enumerate(count_B):
        height = foot - count / top * (foot - _TOP)
        path += f"V{height:.1f}H{_LEFT + (number + 1) * step:.1f}"
    return (
        f'<path d="{path}V{foot}Z" fill="{colour}" fill-opacity="0.25" stroke="{colour}" '
        'stroke-width="1.5"/>'
    )
