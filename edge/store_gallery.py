"""Individuals, their exemplars and the gallery's log in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge.detect import Box
from edge.pictures import Flank
from edge.store import Store, new_id, now


@dataclass(frozen=True, kw_only=True)
class NewExemplar:
    sha256: str  # of the picture's bytes
    display: str
    box: Box  # relative
    flank: Flank
    encounter: str | None
    captured_at: datetime | None
    embedding: NDArray[np.float16]
    encoder_id: str
    crop: str


@dataclass(frozen=True, kw_only=True)
class StoredExemplar:
    individual_id: str
    flank: Flank
    encounter: str | None
    captured_at: datetime | None
    embedding: NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class IndividualRow:
    individual_id: str
    name: str
    provisional: bool
    num_exemplars: int
    num_left: int
    num_right: int


def find_individual(store: Store, name: str) -> str | None:
    rows = store.execute("SELECT individual_id FROM individual WHERE name = ?", (name,))
    return str(rows[0][0]) if rows else None


def add_individual(store: Store, name: str, provisional: bool) -> str:
    individual_id = new_id()
    store.execute(
        "INSERT INTO individual (individual_id, name, provisional, created_at) VALUES (?, ?, ?, ?)",
        (individual_id, name, int(provisional), now()),
    )
    return individual_id


def owners(store: Store, sha256: str, box: Box) -> list[str]:
    """Names of the individuals that have this very crop as an exemplar."""
    rows = store.execute(
        "SELECT name FROM exemplar JOIN individual USING (individual_id) "
        "WHERE sha256 = ? AND (x, y, width, height) = (?, ?, ?, ?) ORDER BY name",
        (sha256, box.x, box.y, box.width, box.height),
    )
    return [str(row[0]) for row in rows]


def add_exemplar(store: Store, individual_id: str, exemplar: NewExemplar) -> None:
    box = exemplar.box
    store.execute(
        "INSERT INTO exemplar (exemplar_id, individual_id, sha256, display, x, y, width, height, "
        "flank, encounter, captured_at, embedding, encoder_id, crop, created_at) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            new_id(),
            individual_id,
            exemplar.sha256,
            exemplar.display,
            box.x,
            box.y,
            box.width,
            box.height,
            exemplar.flank,
            exemplar.encounter,
            exemplar.captured_at.isoformat() if exemplar.captured_at else None,
            exemplar.embedding.astype("<f2").tobytes(),
            exemplar.encoder_id,
            exemplar.crop,
            now(),
        ),
    )


def log(store: Store, action: str, individual_id: str, details: Mapping[str, object]) -> None:
    store.execute(
        "INSERT INTO gallery_log (entry_id, action, individual_id, details, logged_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (new_id(), action, individual_id, json.dumps(details, sort_keys=True), now()),
    )


def encoder_ids(store: Store) -> list[str]:
    """The encoders behind the exemplars; one, unless the gallery is empty."""
    return [str(row[0]) for row in store.execute("SELECT DISTINCT encoder_id FROM exemplar")]


def exemplars(store: Store) -> list[StoredExemplar]:
    """All of them, in the order they were enrolled."""
    rows = store.execute(
        "SELECT individual_id, flank, encounter, captured_at, embedding FROM exemplar "
        "ORDER BY exemplar_id"
    )
    return [
        StoredExemplar(
            individual_id=individual_id,
            flank=flank,
            encounter=encounter,
            captured_at=datetime.fromisoformat(captured_at) if captured_at else None,
            embedding=np.frombuffer(embedding, "<f2"),
        )
        for individual_id, flank, encounter, captured_at, embedding in rows
    ]


def individuals(store: Store) -> list[IndividualRow]:
    rows = store.execute(
        "SELECT individual_id, name, provisional, count(exemplar_id), "
        "count(*) FILTER (WHERE flank = 'left'), count(*) FILTER (WHERE flank = 'right') "
        "FROM individual LEFT JOIN exemplar USING (individual_id) "
        "GROUP BY individual_id ORDER BY name"
    )
    return [
        IndividualRow(
            individual_id=individual_id,
            name=name,
            provisional=bool(provisional),
            num_exemplars=num_exemplars,
            num_left=num_left,
            num_right=num_right,
        )
        for individual_id, name, provisional, num_exemplars, num_left, num_right in rows
    ]


def names(store: Store) -> dict[str, str]:
    """individual_id to name."""
    return {row[0]: row[1] for row in store.execute("SELECT individual_id, name FROM individual")}
