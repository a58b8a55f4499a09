"""What calibration and the gallery's doctor read from the database beside embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from edge.store import Store


@dataclass(frozen=True, kw_only=True)
class ExemplarLabel:
    exemplar_id: str
    individual_id: str
    display: str  # where its picture was
    flank: str


def labels(store: Store) -> list[ExemplarLabel]:
    """In the order of store_gallery.exemplars."""
    rows = store.execute(
        "SELECT exemplar_id, individual_id, display, flank FROM exemplar ORDER BY exemplar_id"
    )
    return [
        ExemplarLabel(exemplar_id=one[0], individual_id=one[1], display=one[2], flank=one[3])
        for one in rows
    ]
