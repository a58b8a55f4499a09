"""From similarities to a proposal: match, new, review or unidentifiable.

Similarities are cosines, higher is closer. One decision is made per animal and event, from the
mean over its usable frames, weighted by their quality, of its similarity to each individual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.identity.probability import Curve

DecisionKind = Literal["match", "new", "review", "unidentifiable"]
Statistic = Literal["similarity", "vote"]
Group = Literal["infrared", "day", "left flank", "right flank"]
MIN_FRAMES_FOR_NEW = 2


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Thresholds of the visits of one group, where they suffice to be measured by themselves."""

    group: Group
    match: float
    new: float
    curve: Curve | None


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """At or above `match`: a known animal; below `new`: a new one; between: a person looks."""

    statistic: Statistic
    match: float
    new: float
    source: str  # "gallery", "model (pseudo-labels)", "model (labels)"
    wrong_name_rate: float | None  # strangers' events given a known name, where measured
    false_new_rate: float | None  # known animals' events called new, where measured
    named_rate: float | None  # known animals' events given their own name, where measured
    misnamed_rate: float | None  # known animals' events given another's name, where measured
    curve: Curve | None = None  # from the statistic to a probability, where measured
    apart: tuple[Apart, ...] = ()  # the first that fits a visit counts for it

    def of_visit(self, light: int, side: int) -> Thresholds:
        """Those of its group, else the common ones; signs as `groups_of` takes them."""
        groups = groups_of(light, side)
        for one in self.apart:
            if one.group in groups:
                source = f"{self.source} ({one.group})"
                return replace(
                    self, match=one.match, new=one.new, curve=one.curve, source=source, apart=()
                )
        return self


def groups_of(light: int, side: int) -> tuple[Group, ...]:
    """`light`: 1 infrared, -1 day; `side`: -1 left, 1 right; 0: not known, or both alike."""
    lights: dict[int, tuple[Group, ...]] = {1: ("infrared",), -1: ("day",), 0: ()}
    sides: dict[int, tuple[Group, ...]] = {1: ("right flank",), -1: ("left flank",), 0: ()}
    return lights[light] + sides[side]


def prevailing(sign_N: Sequence[int] | NDArray[np.int64]) -> int:
    """What most frames of a visit are, -1 or 1; 0 where as many are the one as the other."""
    return int(np.sign(np.sum(sign_N)))


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Individuals, best first, by mean vote where there are votes, else by mean similarity.

    Each tuple has one entry an individual.
    """

    individual_ids: tuple[str, ...]
    similarities: tuple[float, ...]
    num_frames: int  # usable frames behind the means
    votes: tuple[float, ...] | None = None  # as edge/identity/votes.py counts them

    def value(self, statistic: Statistic) -> float:
        if statistic == "vote":
            assert self.votes is not None
            return self.votes[0]
        return self.similarities[0]

    @property
    def margin(self) -> float | None:
        """How far the best is before the runner-up; None without one."""
        return self.similarities[0] - self.similarities[1] if len(self.similarities) > 1 else None


def rank(
    individual_ids: list[str],
    similarities_NI: NDArray[np.float32],
    quality_N: Sequence[float] | None = None,
    vote_NI: NDArray[np.float32] | None = None,
) -> Ranking:
    """Weighted means over N frames of each individual's similarity, sorted; by votes, if given.

    Frames count by their quality, alike where none is given; ties keep the given order.
    """
    # Never quite nothing, so that frames of no quality still have a mean.
    given = np.ones(len(similarities_NI)) if quality_N is None else np.maximum(quality_N, 1e-3)
    weight_N = given / given.sum()
    mean_I = weight_N @ similarities_NI
    vote_I = None if vote_NI is None else weight_N @ vote_NI
    order = np.argsort(-(mean_I if vote_I is None else vote_I), kind="stable")
    return Ranking(
        individual_ids=tuple(individual_ids[i] for i in order),
        similarities=tuple(float(mean_I[i]) for i in order),
        num_frames=len(similarities_NI),
        votes=None if vote_I is None else tuple(float(vote_I[i]) for i in order),
    )


def decide(ranking: Ranking | None, thresholds: Thresholds | None) -> DecisionKind:
    """The proposal for one animal in one event.

    `ranking` is None where no frame is usable; an empty one means an empty gallery.
    """
    if ranking is None or ranking.num_frames == 0:
        return "unidentifiable"
    enough_for_new = ranking.num_frames >= MIN_FRAMES_FOR_NEW
    if not ranking.individual_ids:
        return "new" if enough_for_new else "review"
    if thresholds is None:
        return "review"
    value = ranking.value(thresholds.statistic)
    if value >= thresholds.match:
        return "match"
    if value < thresholds.new and enough_for_new:
        return "new"
    return "review"


def probability(ranking: Ranking | None, thresholds: Thresholds | None) -> float | None:
    """How likely the best name is right, were every second visit a stranger's; None: unknown."""
    if ranking is None or not ranking.individual_ids or thresholds is None:
        return None
    if thresholds.curve is None:
        return None
    return thresholds.curve.probability(ranking.value(thresholds.statistic))
