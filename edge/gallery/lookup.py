"""What a person's words in a command mean: an animal, a picture, a sighting, an entry of the log.

An animal is called by its name; everything by its id, the id's beginning or its end. What is
unknown is refused with the nearest that is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from edge.errors import GalleryError
from edge.gallery.gallery_state import Entry, Exemplar, GalleryState, Individual
from edge.record import store_observations
from edge.record.store import Store
from edge.record.store_observations import Observation
from edge.text import printable

LONGEST_NAME = 200  # characters
_SHORTEST_REFERENCE = 4  # characters of an id


def find(state: GalleryState, reference: str) -> Individual:
    """The animal of a name, or of an id, its beginning or its end; raises GalleryError.

    An id or a name that was merged away stands for the animal it went into.
    """
    living = state.living_named(reference)
    if living is not None:
        return living
    named = [
        one
        for one in state.individuals.values()
        if one.name == reference and one.status != "undone"
    ] or [one for key, one in state.individuals.items() if _is_like(key, reference)]
    found = {one.individual_id: one for one in (state.current(n.individual_id) for n in named)}
    if len(found) > 1:
        several = ", ".join(f"{printable(one.name)} {one.individual_id}" for one in found.values())
        raise GalleryError(f"{printable(reference)} can be several animals: {several}; give one id")
    if not found:
        raise GalleryError(_unknown(state, reference))
    return next(iter(found.values()))


def _unknown(state: GalleryState, reference: str) -> str:
    names = [one.name for one in state.individuals.values() if one.status in ("living", "retired")]
    folded = {one.casefold(): one for one in names}
    near = difflib.get_close_matches(reference.casefold(), list(folded), n=3, cutoff=0.5)
    if near:
        like = ", ".join(printable(folded[one]) for one in near)
        return f"there is no animal {printable(reference)}; the nearest names are: {like}"
    if not names:
        return (
            f"there is no animal {printable(reference)}: the gallery is empty; add animals with "
            "`edge-gallery enroll FOLDER`"
        )
    return (
        f"there is no animal {printable(reference)}, nor one with a name like it; "
        "`edge-gallery list` has them all"
    )


def checked_name(name: str) -> str:
    """The name without blanks around it; raises GalleryError when it can be none."""
    bare = name.strip()
    if not bare or len(bare) > LONGEST_NAME or not bare.isprintable():
        raise GalleryError(
            f"{printable(name)!r} can be no name: give 1 to {LONGEST_NAME} characters that can be "
            "printed"
        )
    return bare


def find_exemplars(own: Sequence[Exemplar], source: Individual, reference: str) -> list[Exemplar]:
    """Those of an encounter, else the one whose id is, begins or ends so."""
    found = [one for one in own if one.encounter == reference]
    if not found:
        found = [one for one in own if _is_like(one.exemplar_id, reference)]
        if len(found) > 1:
            raise GalleryError(f"{printable(reference)} can be {len(found)} pictures; give more")
    if not found:
        raise GalleryError(
            f"{printable(source.name)} has no picture and no encounter {printable(reference)}; "
            f"`edge-gallery show` has them all"
        )
    return found


def find_exemplar(state: GalleryState, reference: str) -> Exemplar:
    found = [one for one in state.exemplars.values() if _is_like(one.exemplar_id, reference)]
    if len(found) != 1:
        how_many = f"{len(found)} exemplars have" if found else "no exemplar has"
        raise GalleryError(
            f"{how_many} an id like {printable(reference)}; `edge-gallery show ANIMAL` has the ids"
        )
    return found[0]


def find_merged(state: GalleryState, reference: str, source: Individual) -> Individual:
    """The animal of this name or id among those merged into `source`."""
    inside = {
        key: one
        for key, one in state.individuals.items()
        if one.status == "merged" and state.current(key) == source
    }
    for one in inside.values():
        if reference == one.name or _is_like(one.individual_id, reference):
            return one
    names = ", ".join(printable(one.name) for one in inside.values()) or "none"
    raise GalleryError(
        f"{printable(reference)} was not merged into {printable(source.name)}; those that were: "
        f"{names}"
    )


def find_observation(store: Store, reference: str) -> Observation:
    found = (
        store_observations.find(store, reference) if len(reference) >= _SHORTEST_REFERENCE else []
    )
    if len(found) == 1:
        return found[0]
    if not found:
        raise GalleryError(
            f"there is no sighting {printable(reference)}; give the observation_id or event_id of "
            "a row of `edge-report csv --level event`, its beginning or its end"
        )
    ids = ", ".join(one.observation_id for one in found[:5])
    raise GalleryError(
        f"{printable(reference)} can be {len(found)} sightings: {ids}"
        f"{' ...' if len(found) > 5 else ''}; give one observation_id"
    )


def find_entry(entries: Sequence[Entry], reference: str) -> Entry:
    """By its number, or its id."""
    bare = reference.removeprefix("#")
    for one in entries:
        if bare in (str(one.seq), one.entry_id):
            return one
    raise GalleryError(
        f"the gallery's log has no entry {printable(reference)}; `edge-gallery history` has their "
        "numbers"
    )


def _is_like(one_id: str, reference: str) -> bool:
    return len(reference) >= _SHORTEST_REFERENCE and (
        one_id.startswith(reference) or one_id.endswith(reference)
    )
