"""Whether crops were taken by infrared light: looked at once in the stored crop, then remembered.

A crop that is no longer there has no light, and what it shows goes by the common thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge import media
from edge.decoding import quality
from edge.record import store_light
from edge.record.state import StateFolder
from edge.record.store import Store

_AT_ONCE = 500  # crops, so that a large gallery's are not all lost when the power goes


def of_crops(store: Store, crops: Iterable[str]) -> dict[str, bool]:
    """Inside the writer's transaction."""
    wanted = list(crops)
    infrared_of = store_light.known(store, wanted)
    fresh = _look(store, [one for one in wanted if one not in infrared_of])
    store_light.put(store, fresh)
    return infrared_of | fresh


def look_at_exemplars(store: Store) -> None:
    """So that the gallery knows the light of its pictures; 2 ms for each that is new."""
    crops = store_light.exemplar_crops(store)
    for start in range(0, len(crops), _AT_ONCE):
        fresh = _look(store, crops[start : start + _AT_ONCE])
        with store.transaction(keeps_people=False):
            store_light.put(store, fresh)


def _look(store: Store, crops: list[str]) -> dict[str, bool]:
    files = {one: StateFolder(root=store.path.parent).crop(one) for one in crops}
    return {
        crop: quality.is_infrared(media.decode(media.read_bytes(file)).image_HWC)
        for crop, file in files.items()
        if file.is_file()
    }
