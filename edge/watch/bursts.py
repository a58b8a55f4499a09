"""Bursts that a batch cuts in two: their first half waits for the next batch.

A finder that compares the frames of a burst sees little in one that stands alone. What is held
stays claimed and in memory, and is held once; the next batch has been begun by then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge.events import group_by_gap
from edge.watch.pipeline import Pipeline
from edge.watch.recording import Learned

_MAX_HELD_BYTES = 32 * 2**20  # of files, beside those of two batches


def cut_off(
    pipeline: Pipeline, learned: Sequence[Learned], held: Collection[str], goes_on: str | None
) -> list[Learned]:
    """Those that wait: the last event of the camera `goes_on`, which the next batch begins with.

    None of them where one, by its sha256, is in `held`: it has waited for one batch already.
    """
    mine = [one for one in learned if one.medium.files[0].deployment_id == goes_on]
    if not mine:
        return []
    times = [pipeline.times.taken(one.decoded, one.medium.files[0]).captured_at for one in mine]
    last = [mine[position] for position in group_by_gap(times)[-1]]
    num_bytes = sum(len(one.medium.data) for one in last)
    waited = any(one.medium.sha256 in held for one in last)
    return [] if waited or num_bytes > _MAX_HELD_BYTES else last
