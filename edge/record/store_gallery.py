"""The known animals in the database as an index wants them: pictures with one encoder's embeddings.

Reads what store_log.py writes; only embeddings are written here, as they follow from crops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge.pictures import Flank
from edge.record.store import Store


@dataclass(frozen=True, kw_only=True)
class StoredExemplar:
    """One picture of an animal as an index wants it."""

    individual_id: str
    flank: Flank
    encounter: str | None
    captured_at: datetime | None
    embedding: NDArray[np.float16]
    infrared: bool | None = None  # None: not known


@dataclass(frozen=True, kw_only=True)
class NewEmbedding:
    exemplar_id: str
    encoder_id: str
    embedding: NDArray[np.float16]


def add_embeddings(store: Store, embeddings: Iterable[NewEmbedding]) -> None:
    store.execute_many(
        "INSERT INTO exemplar_embedding (exemplar_id, encoder_id, embedding) VALUES (?, ?, ?) "
        "ON CONFLICT (exemplar_id, encoder_id) DO UPDATE SET embedding = excluded.embedding",
        ((one.exemplar_id, one.encoder_id, _as_blob(one.embedding)) for one in embeddings),
    )


def exemplars(store: Store, encoder_id: str) -> list[StoredExemplar]:
    """Those of the living animals with this encoder's embeddings, in the order they came.

    A crop that an animal has twice (its own and a merged one's) counts once.
    """
    with store.snapshot():
        labels = store.execute(
            "SELECT min(exemplar_id), individual_id, flank, encounter, captured_at, infrared "
            "FROM exemplar JOIN individual USING (individual_id) "
            "LEFT JOIN crop_light USING (crop) "
            "JOIN exemplar_embedding USING (exemplar_id) "
            "WHERE encoder_id = ? AND status = 'living' "
            "GROUP BY individual_id, sha256, x, y, width, height ORDER BY min(exemplar_id)",
            (encoder_id,),
        )
        emb_MD = _embeddings(store, encoder_id, [row[0] for row in labels])
    return [
        StoredExemplar(
            individual_id=individual_id,
            flank=flank,
            encounter=encounter,
            captured_at=datetime.fromisoformat(captured_at) if captured_at else None,
            embedding=emb_D,
            infrared=None if infrared is None else bool(infrared),
        )
        for (_, individual_id, flank, encounter, captured_at, infrared), emb_D in zip(
            labels, emb_MD, strict=True
        )
    ]


def _embeddings(store: Store, encoder_id: str, exemplar_ids: list[str]) -> NDArray[np.float16]:
    """[M, D] in that order, row by row into one block of memory, which is given back whole."""
    place_of = {one: place for place, one in enumerate(exemplar_ids)}
    emb_MD = np.zeros((len(exemplar_ids), 0), np.float16)
    for exemplar_id, stored in store.rows(
        "SELECT exemplar_id, embedding FROM exemplar_embedding WHERE encoder_id = ?",
        (encoder_id,),
    ):
        place = place_of.get(exemplar_id)
        if place is not None:
            emb_D = np.frombuffer(stored, "<f2")
            if not emb_MD.size:
                emb_MD = np.zeros((len(exemplar_ids), len(emb_D)), np.float16)
            emb_MD[place] = emb_D
    return emb_MD


def lacking(store: Store, encoder_id: str) -> list[tuple[str, str]]:
    """(exemplar_id, crop) of the exemplars this encoder has not embedded yet."""
    rows = store.execute(
        "SELECT exemplar_id, crop FROM exemplar WHERE exemplar_id NOT IN "
        "(SELECT exemplar_id FROM exemplar_embedding WHERE encoder_id = ?) ORDER BY exemplar_id",
        (encoder_id,),
    )
    return [(exemplar_id, crop) for exemplar_id, crop in rows]


def encoder_ids(store: Store) -> list[str]:
    """The encoders behind the exemplars, the one that knows most of them first."""
    rows = store.execute(
        "SELECT encoder_id FROM exemplar JOIN exemplar_embedding USING (exemplar_id) "
        "GROUP BY encoder_id ORDER BY count(*) DESC, encoder_id"
    )
    return [str(row[0]) for row in rows]


def embeddings_of(store: Store, exemplar_id: str) -> dict[str, bytes]:
    """By encoder_id, float16, little-endian."""
    return dict(
        store.execute(
            "SELECT encoder_id, embedding FROM exemplar_embedding WHERE exemplar_id = ?",
            (exemplar_id,),
        )
    )


def names(store: Store) -> dict[str, str]:
    """individual_id to the name of the animal it stands for today."""
    rows = store.execute("SELECT individual_id, name FROM individual WHERE status <> 'undone'")
    return {individual_id: name for individual_id, name in rows}


def _as_blob(embedding: NDArray[np.float16]) -> bytes:
    return embedding.astype("<f2").tobytes()


def embedding_bytes(store: Store) -> dict[str, int]:
    """By encoder_id, how long its embeddings are."""
    return dict(
        store.execute(
            "SELECT encoder_id, max(length(embedding)) FROM exemplar_embedding GROUP BY encoder_id"
        )
    )
