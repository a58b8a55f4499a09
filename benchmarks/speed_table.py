"""What end_to_end.py measured, as a table beside what is wanted."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from machine import ratio

Times = Mapping[str, Sequence[float]]  # by program: milliseconds a photo, one a round
WANTED = {  # times as fast; of the ceiling
    "resnet50 fp32": {"wildlife": 3.5, "plain": 2.5, "ceiling": 0.88},
    "resnet50 int8": {"wildlife": 7.0, "plain": 4.5, "ceiling": 0.88},
    "mobilenet fp32": {"plain": 5.0, "ceiling": 0.88},
    "vit-b-16 int8": {"plain": 3.5, "ceiling": 0.88},
}


def ratios(times: Times) -> dict[str, float]:
    """How many times as fast edge-watch is; of the ceiling the share that it reaches."""
    edge = times["edge"]
    found = {
        "ceiling": ratio(times["ceiling"], edge),
        "ceiling without start": ratio(times["ceiling"], times["edge without start"]),
        "ceiling by processor time": ratio(times["ceiling cpu"], times["edge cpu without start"]),
    }
    for name, key in (("plain", "plain"), ("wildlife-tools", "wildlife")):
        if name in times:
            found[key] = ratio(times[name], edge)
    return found


def table(cases: Mapping[str, Times], wanted: Mapping[str, Mapping[str, float]]) -> str:
    """Milliseconds a photo, medians of the rounds; ratios are medians of those of the rounds."""
    rows = [
        "| model | ceiling, ms | edge-watch, ms | of the ceiling | without its start "
        "| by processor time | plain, ms | times | wildlife-tools, ms | times | start, s |",
        "|---" * 11 + "|",
    ]
    for label, times in cases.items():
        found, goals = ratios(times), wanted[label]
        start = statistics.median(times["edge start"]) / 1000
        rows.append(
            f"| {label} | {_ms(times, 'ceiling')} | {_ms(times, 'edge')} "
            f"| {_judged(found, goals, 'ceiling', percent=True)} "
            f"| {100 * found['ceiling without start']:.0f} % "
            f"| {100 * found['ceiling by processor time']:.0f} % "
            f"| {_ms(times, 'plain')} | {_judged(found, goals, 'plain')} "
            f"| {_ms(times, 'wildlife-tools')} | {_judged(found, goals, 'wildlife')} "
            f"| {start:.2f} |"
        )
    return "\n".join(rows)


def _ms(times: Times, name: str) -> str:
    return f"{statistics.median(times[name]):.1f}" if name in times else ""


def _judged(
    found: Mapping[str, float], goals: Mapping[str, float], name: str, percent: bool = False
) -> str:
    """The figure, and what was wanted where it is less."""
    if name not in found:
        return ""
    text = f"{100 * found[name]:.0f} %" if percent else f"{found[name]:.1f}"
    goal = goals.get(name)
    if goal is None or found[name] >= goal:
        return text
    return f"{text} (wanted {f'{100 * goal:.0f} %' if percent else f'{goal:g}'})"
