"""The individuals most often taken for each other, with the crops that mislead most."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from edge.text import counted
from trainer.evaluation.retrieved import Retrieved
from trainer.report.markup import missing, name, paragraph, section
from trainer.report.pictures import figure, strip
from trainer.report.strips import gallery_figure

_NUM_PAIRS = 8
_NUM_EXAMPLES = 2  # queries a pair


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One query between its own animal and the most similar other one."""

    query: int
    own: int  # gallery row of the own animal's most similar crop
    other: int  # gallery row of the most similar crop of another animal
    margin: float  # similarity of own less that of other; below zero: taken for the other


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two identities in alphabetical order, and the queries of either that came closest."""

    first: str
    second: str
    contests: tuple[Contest, ...]  # the worst first

    @property
    def num_confused(self) -> int:
        return sum(one.margin < 0 for one in self.contests)


def confused_pairs(retrieved: Retrieved) -> list[Pair]:
    """All pairs of identities, the most often confused first, then the closest.

    Queries whose animal the gallery does not show, or shows alone, take no part.
    """
    contests: dict[tuple[str, str], list[Contest]] = defaultdict(list)
    identity_G = retrieved.gallery_identity_G
    for query, identity in enumerate(retrieved.query_identity_Q):
        similarity_G = retrieved.similarity_QG[query]
        own_G = identity_G == identity
        own = int(np.where(own_G, similarity_G, -np.inf).argmax())
        other = int(np.where(own_G, -np.inf, similarity_G).argmax())
        margin = float(similarity_G[own]) - float(similarity_G[other])
        if not own_G[own] or own_G[other] or not np.isfinite(margin):
            continue
        first, second = sorted((str(identity), str(identity_G[other])))
        contests[first, second].append(Contest(query=query, own=own, other=other, margin=margin))
    pairs = [
        Pair(
            first=first,
            second=second,
            contests=tuple(sorted(found, key=lambda one: one.margin)),
        )
        for (first, second), found in contests.items()
    ]
    return sorted(pairs, key=lambda pair: (-pair.num_confused, pair.contests[0].margin))


def render_confusion(retrieved: Retrieved | None) -> str:
    if retrieved is None:
        reason = (
            "That takes queries with known animals, and none came with this run; "
            "<code>fancl-eval RUN DATA --report</code> reads them."
        )
        return section("confusion", [missing(reason)])
    pairs = confused_pairs(retrieved)
    if not pairs:
        reason = (
            "No query can be taken for another animal: that takes a gallery with at least two "
            "animals, one of them the query's own."
        )
        return section("confusion", [missing(reason)])
    num_pairs = sum(pair.num_confused > 0 for pair in pairs)
    found = (
        f"{counted(num_pairs, 'pair')} of animals {'was' if num_pairs == 1 else 'were'} confused "
        "at least once; the most frequent come first."
        if num_pairs
        else "No query was taken for another animal; these pairs came closest."
    )
    intro = paragraph(
        f"{found} Each row: a query, the other animal's gallery picture that is most similar to "
        "it, and its own animal's most similar one. Good: you see at once that the two differ, "
        "and more or clearer pictures of them will help. Bad: you cannot tell them apart either: "
        "check whether both names belong to one animal, or whether the coat can be seen at all."
    )
    shown = "".join(_render_pair(retrieved, pair) for pair in pairs[:_NUM_PAIRS])
    return section("confusion", [intro, f'<div class="pairs">{shown}</div>'])


def _render_pair(retrieved: Retrieved, pair: Pair) -> str:
    names = (pair.first, pair.second)
    num_queries = int(np.isin(retrieved.query_identity_Q, names).sum())
    queries = f"{counted(num_queries, 'query', 'queries')} of the two"
    if pair.num_confused:
        verdict = f"{pair.num_confused} of {queries} took one for the other"
    else:
        verdict = f"none of {queries} took one for the other"
    examples = "".join(_render_contest(retrieved, one) for one in pair.contests[:_NUM_EXAMPLES])
    return (
        f'<div class="pair"><h3>{name(pair.first)} and {name(pair.second)}</h3>'
        f"{paragraph(verdict + '.', 'quiet')}{examples}</div>"
    )


def _render_contest(retrieved: Retrieved, contest: Contest) -> str:
    identity = str(retrieved.query_identity_Q[contest.query])
    shown = [
        figure(
            retrieved.query_images_QHWC[contest.query],
            f"query: {identity}",
            f"query<br>{name(identity)}",
            "query",
        )
    ]
    for row in (contest.other, contest.own):
        similarity = float(retrieved.similarity_QG[contest.query, row])
        shown.append(gallery_figure(retrieved, row, identity, similarity))
    return strip(f"query {identity} between two animals", shown)
