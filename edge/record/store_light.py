"""By what light crops were taken, in the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from edge.record.store import Store


def known(store: Store, crops: Iterable[str]) -> dict[str, bool]:
    """Whether infrared, of those of these crops that were looked at."""
    rows = store.execute(
        "SELECT crop, infrared FROM crop_light WHERE crop IN (SELECT value FROM json_each(?))",
        (json.dumps(list(crops)),),
    )
    return {crop: bool(infrared) for crop, infrared in rows}


def put(store: Store, infrared_of: Mapping[str, bool]) -> None:
    store.execute_many(
        "INSERT INTO crop_light (crop, infrared) VALUES (?, ?) ON CONFLICT (crop) DO NOTHING",
        ((crop, int(infrared)) for crop, infrared in infrared_of.items()),
    )


def exemplar_crops(store: Store) -> list[str]:
    """The living animals' crops that nobody has looked at."""
    rows = store.execute(
        "SELECT DISTINCT crop FROM exemplar JOIN individual USING (individual_id) "
        "WHERE status = 'living' AND crop NOT IN (SELECT crop FROM crop_light) ORDER BY crop"
    )
    return [str(row[0]) for row in rows]
