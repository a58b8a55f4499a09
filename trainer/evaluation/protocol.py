"""Who is asked about and who is known: query rows, gallery rows, and pairs that do not count.

An encounter here is one of one animal: the frames of an identity under one name in the
`encounter` column. Reads no pictures (that is `trial`) and gives no figures (`metrics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.events import group_by_gap
from edge.pictures import Picture
from trainer.data import CropFact

Protocol: TypeAlias = Literal["split", "time-aware", "encounter-disjoint"]
QUERY, GALLERY, TRAIN = "query", "gallery", "train"
_Rows: TypeAlias = list[int]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the user asked for."""

    protocol: Protocol
    query_share: float  # of an animal's encounters, where the protocol divides them itself
    exclude_encounter: bool  # a query is not matched with its animal's own encounter


@dataclass(frozen=True, kw_only=True)
class Division:
    """Rows are positions in the crops it was made from."""

    protocol: str  # in words
    query_Q: NDArray[np.int64]
    gallery_G: NDArray[np.int64]
    group_N: NDArray[np.int64]  # the encounter of each row, else its picture
    excluded_QG: NDArray[np.bool_]
    num_picture_pairs: int  # excluded: both crops are of the same picture
    num_encounter_pairs: int  # of one animal in one encounter, on different pictures
    encounters_excluded: bool  # whether those pairs are left out
    has_encounters: bool  # whether any row names one
    num_undivided: int  # rows that the protocol cannot place: no time, or no encounter
    num_undivided_identities: int  # none of whose rows it can place


def rows_for(pictures: Sequence[Picture], protocol: Protocol) -> tuple[Picture, ...]:
    """The pictures that take part: never rows of the train split beside others.

    For the split column's own division queries come first, so that both sides are contiguous.
    """
    if protocol == "split" and _has_queries_and_gallery(pictures):
        sides = [[one for one in pictures if one.split == side] for side in (QUERY, GALLERY)]
        return (*sides[0], *sides[1])
    kept = tuple(one for one in pictures if one.split != TRAIN)
    if protocol != "split" and not kept:
        raise InputError(
            f"every row is of the train split, which --protocol {protocol} never divides into "
            "query and gallery; add rows with another split, or leave the option out"
        )
    return kept or tuple(pictures)


def _has_queries_and_gallery(pictures: Sequence[Picture]) -> bool:
    return {QUERY, GALLERY} <= {one.split for one in pictures}


def divide(facts: Sequence[CropFact], rules: Rules) -> Division:
    """Query and gallery among labelled crops.

    Raises InputError where the data lack what the protocol needs, with what to do instead.
    """
    if rules.protocol == "split":
        words, query, gallery = _by_split(facts)
    else:
        query, gallery = _by_encounter(facts, rules)
        words = (
            f"{rules.protocol}: gallery of {len(gallery)} from each animal's earlier encounters"
            if rules.protocol == "time-aware"
            else f"{rules.protocol}: gallery of {len(gallery)} from each animal's first encounters"
        )
    return _division(facts, words, query, gallery, rules.exclude_encounter)


def _by_split(facts: Sequence[CropFact]) -> tuple[str, _Rows, _Rows]:
    pictures = [fact.picture for fact in facts]
    if _has_queries_and_gallery(pictures):
        gallery = [row for row, one in enumerate(pictures) if one.split == GALLERY]
        query = [row for row, one in enumerate(pictures) if one.split == QUERY]
        return f"split column: gallery of {len(gallery)}", query, gallery
    words = "each crop against those of all other pictures"
    if all(one.split == TRAIN for one in pictures):
        words += ", all of the train split"
    everything = list(range(len(facts)))
    return words, everything, everything


def _by_encounter(facts: Sequence[CropFact], rules: Rules) -> tuple[_Rows, _Rows]:
    by_time = rules.protocol == "time-aware"
    query: _Rows = []
    gallery: _Rows = []
    for rows in _by_identity(facts):
        encounters = (_in_time if by_time else _in_order)(facts, rows)
        num_gallery = len(encounters) - _num_queries(len(encounters), rules.query_share)
        gallery += [row for one in encounters[:num_gallery] for row in one]
        query += [row for one in encounters[num_gallery:] for row in one]
    if not query:
        raise InputError(
            "no animal has two encounters with a time: --protocol time-aware needs a `date` column "
            "with times like 2026-05-01 06:30:00, or pictures that carry EXIF times"
            if by_time
            else "no animal has two encounters: --protocol encounter-disjoint needs an "
            "`encounter` column; leave the option out to match each picture with all others"
        )
    return sorted(query), sorted(gallery)


def _by_identity(facts: Sequence[CropFact]) -> list[_Rows]:
    rows_of: dict[str, _Rows] = {}
    for row, fact in enumerate(facts):
        rows_of.setdefault(_name(fact), []).append(row)
    return list(rows_of.values())


def _num_queries(num_encounters: int, share: float) -> int:
    """How many of an animal's encounters are asked about: none of a single one."""
    if num_encounters < 2:
        return 0
    return min(max(int(num_encounters * share), 1), num_encounters - 1)


def _in_order(facts: Sequence[CropFact], rows: _Rows) -> list[_Rows]:
    """An animal's named encounters in the order of the table."""
    rows_of: dict[str, _Rows] = {}
    for row in rows:
        name = facts[row].picture.encounter
        if name is not None:
            rows_of.setdefault(name, []).append(row)
    return list(rows_of.values())


def _in_time(facts: Sequence[CropFact], rows: _Rows) -> list[_Rows]:
    """An animal's encounters by their earliest time; those without a time are left out.

    Rows that name no encounter are grouped as events are: without a pause of over a minute.
    """
    nameless = [row for row in rows if facts[row].picture.encounter is None]
    timed = [(row, time) for row in nameless if (time := facts[row].captured_at) is not None]
    events = group_by_gap([time for _, time in timed])
    encounters = _in_order(facts, rows) + [[timed[one][0] for one in event] for event in events]
    dated = [(time, one) for one in encounters if (time := _earliest(facts, one)) is not None]
    return [one for _, one in sorted(dated, key=lambda pair: pair[0])]


def _earliest(facts: Sequence[CropFact], rows: _Rows) -> datetime | None:
    return min((time for row in rows if (time := facts[row].captured_at)), default=None)


def _division(
    facts: Sequence[CropFact], words: str, query: _Rows, gallery: _Rows, exclude_encounter: bool
) -> Division:
    query_Q, gallery_G = np.array(query, np.int64), np.array(gallery, np.int64)
    placed = {*query, *gallery}
    picture_N = _codes([fact.sha256 for fact in facts])
    encounters = [_encounter_of(fact) for fact in facts]
    group_N = _codes([one or fact.sha256 for one, fact in zip(encounters, facts, strict=True)])
    named_N = np.array([one is not None for one in encounters])
    same_picture_QG = picture_N[query_Q][:, None] == picture_N[gallery_G][None, :]
    same_encounter_QG = group_N[query_Q][:, None] == group_N[gallery_G][None, :]
    same_encounter_QG &= named_N[query_Q][:, None] & ~same_picture_QG
    return Division(
        protocol=words,
        query_Q=query_Q,
        gallery_G=gallery_G,
        group_N=group_N,
        excluded_QG=same_picture_QG | same_encounter_QG if exclude_encounter else same_picture_QG,
        num_picture_pairs=int(same_picture_QG.sum()),
        num_encounter_pairs=int(same_encounter_QG.sum()),
        encounters_excluded=exclude_encounter,
        has_encounters=bool(named_N.any()),
        num_undivided=len(facts) - len(placed),
        num_undivided_identities=len(_names(facts) - {_name(facts[row]) for row in placed}),
    )


def _name(fact: CropFact) -> str:
    return fact.picture.identity or ""


def _names(facts: Sequence[CropFact]) -> set[str]:
    return {_name(fact) for fact in facts}


def _encounter_of(fact: CropFact) -> tuple[str, str] | None:
    """Names of encounters may start again with each animal, hence the pair."""
    picture = fact.picture
    return None if picture.encounter is None else (_name(fact), picture.encounter)


def _codes(values: Sequence[object]) -> NDArray[np.int64]:
    """A number for each distinct value."""
    number_of: dict[object, int] = {}
    return np.array([number_of.setdefault(one, len(number_of)) for one in values], np.int64)
