"""The gallery at one moment, and an entry of its log; gallery_rules.py says what that does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge.pictures import Flank

Status = Literal["living", "retired", "merged", "undone"]
Verdict = Literal["confirm", "assign", "reject"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    seq: int  # the order, and the number a person calls it by
    entry_id: str
    action: str
    individual_id: str | None
    details: Mapping[str, Any]
    who: str
    logged_at: str  # UTC


@dataclass(frozen=True, kw_only=True)
class Individual:
    individual_id: str
    name: str  # its own, also after a merge
    provisional: bool
    status: Status
    merged_into: str | None
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    exemplar_id: str
    individual_id: str
    sha256: str
    display: str
    box: tuple[float, float, float, float]  # relative: x, y, width, height
    flank: Flank
    encounter: str | None
    captured_at: str | None
    crop: str
    observation_id: str | None
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Said:
    """A person's last word on a sighting; with 'reject', `individual_id` is who it is not."""

    observation_id: str
    verdict: Verdict
    individual_id: str
    who: str
    said_at: str


@dataclass(kw_only=True)
class GalleryState:
    individuals: dict[str, Individual] = field(default_factory=dict)
    exemplars: dict[str, Exemplar] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)

    def current(self, individual_id: str) -> Individual:
        """The individual an id stands for today: that of a merged one is followed."""
        one = self.individuals[individual_id]
        while one.merged_into is not None:
            one = self.individuals[one.merged_into]
        return one

    def living_named(self, name: str) -> Individual | None:
        for one in self.individuals.values():
            if one.status == "living" and one.name == name:
                return one
        return None

    def exemplars_of(self, individual_id: str) -> list[Exemplar]:
        return [one for one in self.exemplars.values() if one.individual_id == individual_id]
