"""Who is trained on and who is asked about: a split column for labelled pictures.

Animals of training and test never overlap. Among a test animal's pictures the first half, in the
order of their names, are queries and the rest gallery: of all of them, of each side, or of its
encounters, so that no encounter is on both sides. The first rule is that of IndivAID's data sets
as far as it could be reconstructed; of each side is LionData's. Nothing is drawn but the test
animals, and those by a seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.errors import InputError
from edge.pictures import Picture

Rule = Literal["animal", "side", "encounter"]
Split = Literal["train", "query", "gallery"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a split gives."""

    identities: dict[str, int]  # by split
    pictures: dict[str, int]
    gallery_only: int  # test animals without a query: a single picture, side or encounter


def split_pictures(
    pictures: Sequence[Picture], rule: Rule, test_share: float, seed: int, anew: bool
) -> list[Split]:
    """The split of each picture.

    Where the pictures have a split already, its train rows stay train, unless `anew`; else a
    share of the animals, drawn by the seed, is for testing. Raises InputError where an animal is
    not named, a rule lacks its column, or nothing could be tested.
    """
    _require(pictures, rule)
    given = not anew and any(one.split == "train" for one in pictures)
    test = (
        {one.identity for one in pictures if one.split != "train"}
        if given
        else _drawn({one.identity or "" for one in pictures}, test_share, seed)
    )
    overlap = {one.identity for one in pictures if given and one.split == "train"} & test
    if overlap:
        raise InputError(
            f"{len(overlap)} animals are in the train rows and in others (first: "
            f"{min(str(one) for one in overlap)}): divide them anew with --anew"
        )
    queries = _queries([row for row, one in enumerate(pictures) if one.identity in test],
                       pictures, rule)  # fmt: skip
    if not queries:
        raise InputError(
            "no animal has two pictures to ask with one and find the other; add pictures, or "
            "take another --per"
        )
    return [
        "train" if one.identity not in test else "query" if row in queries else "gallery"
        for row, one in enumerate(pictures)
    ]


def count(pictures: Sequence[Picture], splits: Sequence[Split]) -> Counts:
    names = defaultdict(set)
    for one, split in zip(pictures, splits, strict=True):
        names[split].add(one.identity)
    return Counts(
        identities={split: len(found) for split, found in names.items()},
        pictures=dict(Counter(splits)),
        gallery_only=len(names["gallery"] - names["query"]),
    )


def _require(pictures: Sequence[Picture], rule: Rule) -> None:
    unnamed = next((one for one in pictures if one.identity is None), None)
    if unnamed is not None:
        raise InputError(
            f"{unnamed.name} names no animal: fill the identity column, or put pictures in one "
            "folder an animal"
        )
    if rule == "encounter" and not any(one.encounter for one in pictures):
        raise InputError("--per encounter needs an `encounter` column; there is none, or no value")
    if rule == "side" and all(one.flank == "unknown" for one in pictures):
        raise InputError(
            "--per side needs a `position` column with left and right; there is none, or neither"
        )


def _drawn(names: set[str], share: float, seed: int) -> set[str | None]:
    if not 0 < share < 1:
        raise InputError("--test-share must lie between 0 and 1")
    wanted = round(share * len(names))
    if not 0 < wanted < len(names):
        raise InputError(
            f"a share of {share:g} of {len(names)} animals leaves none to train or to test on; "
            "give another --test-share"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    ordered = sorted(names)
    return {ordered[index] for index in order[:wanted]}


def _queries(rows: Sequence[int], pictures: Sequence[Picture], rule: Rule) -> set[int]:
    """The rows that ask: the first half of each group, rounded down."""
    units: dict[Hashable, list[int]] = defaultdict(list)  # in the order of their first names
    for row in sorted(rows, key=lambda row: pictures[row].name):
        units[_unit(pictures[row], row, rule)].append(row)
    groups: dict[Hashable, list[list[int]]] = defaultdict(list)
    for members in units.values():
        groups[_group(pictures[members[0]], rule)].append(members)
    return {
        row
        for together in groups.values()
        for members in together[: len(together) // 2]
        for row in members
    }


def _unit(picture: Picture, row: int, rule: Rule) -> Hashable:
    """What stays together: a picture, or an encounter of one animal."""
    if rule == "encounter" and picture.encounter:
        return (picture.identity, picture.encounter)
    return row


def _group(picture: Picture, rule: Rule) -> Hashable:
    """Whose units are halved."""
    return (picture.identity, picture.flank) if rule == "side" else picture.identity
