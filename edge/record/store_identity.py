"""What calibration and the gallery's doctor read from the database beside embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from edge.record.store import Store


@dataclass(frozen=True, kw_only=True)
class ExemplarLabel:
    exemplar_id: str
    individual_id: str
    display: str  # where its picture was
    flank: str
    crop: str


def labels(store: Store, encoder_id: str) -> list[ExemplarLabel]:
    """In the order of store_gallery.exemplars."""
    rows = store.execute(
        "SELECT min(exemplar_id), individual_id, display, flank, crop "
        "FROM exemplar JOIN individual USING (individual_id) "
        "JOIN exemplar_embedding USING (exemplar_id) "
        "WHERE encoder_id = ? AND status = 'living' "
        "GROUP BY individual_id, sha256, x, y, width, height ORDER BY min(exemplar_id)",
        (encoder_id,),
    )
    return [
        ExemplarLabel(
            exemplar_id=one[0], individual_id=one[1], display=one[2], flank=one[3], crop=one[4]
        )
        for one in rows
    ]
