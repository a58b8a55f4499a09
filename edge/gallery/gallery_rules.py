"""What each entry of the gallery's log does to the gallery.

Pure: a state and an entry in, the state changed, or GalleryError with the state as it was. Every
rule of the gallery is here: who may be merged, which names are free, whose picture it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edge.errors import GalleryError
from edge.gallery.gallery_state import Entry, Exemplar, GalleryState, Individual, Said, Verdict
from edge.text import counted, printable


def apply(state: GalleryState, entry: Entry) -> None:
    """Carries one entry out; raises GalleryError, the state untouched, where it makes no sense."""
    _APPLY[entry.action](state, entry)


def created_by(entry: Entry) -> list[Individual]:
    """The individuals an entry brings into the gallery."""
    details = entry.details
    if entry.action == "import":
        return [
            Individual(**{"created_at": entry.logged_at, **one}) for one in details["individuals"]
        ]
    if "name" not in details or entry.action == "rename" or details.get("revives"):
        return []
    return [
        Individual(
            individual_id=details["to"] if entry.action == "split" else str(entry.individual_id),
            name=details["name"],
            provisional=details["provisional"],
            status="living",
            merged_into=None,
            created_at=entry.logged_at,
        )
    ]


def _exemplars(entry: Entry) -> list[Exemplar]:
    owner = {"individual_id": entry.individual_id, "created_at": entry.logged_at}
    return [
        Exemplar(**{**owner, **one, "box": tuple(one["box"])}) for one in entry.details["exemplars"]
    ]


def _enrol(state: GalleryState, entry: Entry) -> None:
    exemplars = _exemplars(entry)
    created = created_by(entry)
    for individual in created:
        _require_new(state, individual)
    if not created:
        _living(state, entry.individual_id)
    for one in exemplars:
        _require(one.exemplar_id not in state.exemplars, f"the picture {one.display} is there")
    state.individuals.update({one.individual_id: one for one in created})
    state.exemplars.update({one.exemplar_id: one for one in exemplars})


def _say(state: GalleryState, entry: Entry) -> None:
    """confirm and assign: the sighting's pictures become the animal's, wherever they were."""
    created = created_by(entry)
    for individual in created:
        _require_new(state, individual)
    if not created:
        _living(state, entry.individual_id)
    state.individuals.update({one.individual_id: one for one in created})
    for one in _exemplars(entry):
        known = state.exemplars.get(one.exemplar_id)
        kept = one if known is None else replace(known, individual_id=one.individual_id)
        state.exemplars[one.exemplar_id] = replace(kept, flank=one.flank)
    _remember(state, entry)


def _reject(state: GalleryState, entry: Entry) -> None:
    """What came of the sighting is an exemplar of that animal no more."""
    observation_id, individual_id = entry.details["observation_id"], str(entry.individual_id)
    _require_kept(state, individual_id)
    not_hers = [
        one.exemplar_id
        for one in state.exemplars_of(state.current(individual_id).individual_id)
        if one.observation_id == observation_id
    ]
    for exemplar_id in not_hers:
        del state.exemplars[exemplar_id]
    _remember(state, entry)


def _remember(state: GalleryState, entry: Entry) -> None:
    verdicts: dict[str, Verdict] = {"confirm": "confirm", "assign": "assign", "reject": "reject"}
    observation_id = entry.details["observation_id"]
    state.said[observation_id] = Said(
        observation_id=observation_id,
        verdict=verdicts[entry.action],
        individual_id=str(entry.individual_id),
        who=entry.who,
        said_at=entry.logged_at,
    )


def _merge(state: GalleryState, entry: Entry) -> None:
    source, into = _living(state, entry.individual_id), _living(state, entry.details["into"])
    _require(
        source.individual_id != into.individual_id,
        f"{printable(source.name)} cannot be merged with itself; give two animals, the second is "
        "the one that stays",
    )
    _give(state, state.exemplars_of(source.individual_id), into.individual_id)
    state.individuals[source.individual_id] = replace(
        source, status="merged", merged_into=into.individual_id
    )


def _split(state: GalleryState, entry: Entry) -> None:
    source = _living(state, entry.individual_id)
    leaving = [state.exemplars.get(one) for one in entry.details["exemplars"]]
    found = [one for one in leaving if one and one.individual_id == source.individual_id]
    _require(
        len(found) == len(leaving), f"a picture to split off is not {printable(source.name)}'s"
    )
    if entry.details["revives"]:
        target = replace(
            _merged_into(state, entry.details["to"], source),
            name=entry.details["name"],
            status="living",
            merged_into=None,
        )
        _require_free(state, target.name)
    else:
        (target,) = created_by(entry)
        _require_new(state, target)
        _require(
            0 < len(found) < len(state.exemplars_of(source.individual_id)),
            f"splitting needs some of {printable(source.name)}'s pictures, not none and not all; "
            "for another name use `edge-gallery rename`",
        )
    state.individuals[target.individual_id] = target
    _give(state, found, target.individual_id)


def _merged_into(state: GalleryState, individual_id: str, source: Individual) -> Individual:
    target = state.individuals.get(individual_id)
    if target is None or state.current(individual_id) != source or target == source:
        name = printable(target.name if target else individual_id)
        raise GalleryError(f"{name} was not merged into {printable(source.name)}")
    return target


def _rename(state: GalleryState, entry: Entry) -> None:
    one, name = _living(state, entry.individual_id), entry.details["name"]
    if name != one.name:
        _require_free(state, name)
    state.individuals[one.individual_id] = replace(one, name=name, provisional=False)


def _retire(state: GalleryState, entry: Entry) -> None:
    one = _living(state, entry.individual_id)
    state.individuals[one.individual_id] = replace(one, status="retired")


def _flank(state: GalleryState, entry: Entry) -> None:
    one = state.exemplars.get(entry.details["exemplar_id"])
    if one is None:
        raise GalleryError(f"there is no exemplar {entry.details['exemplar_id']}")
    state.exemplars[one.exemplar_id] = replace(one, flank=entry.details["flank"])


def _move(state: GalleryState, entry: Entry) -> None:
    """One picture was another animal's."""
    one, target = (
        state.exemplars.get(entry.details["exemplar_id"]),
        _living(state, entry.individual_id),
    )
    if one is None:
        raise GalleryError(f"there is no exemplar {entry.details['exemplar_id']}")
    _require(
        one.individual_id != target.individual_id,
        f"the picture {one.display} is {printable(target.name)}'s already",
    )
    _give(state, [one], target.individual_id)


def _import(state: GalleryState, entry: Entry) -> None:
    created, exemplars = created_by(entry), _exemplars(entry)
    trial = GalleryState(individuals=dict(state.individuals))
    for one in created:
        if one.status == "living":
            _require_new(trial, one)
        else:
            _require(one.individual_id not in trial.individuals, f"the id of {one.name} is taken")
        trial.individuals[one.individual_id] = one
    for one in created:
        if one.merged_into is not None:
            _require_kept(trial, one.merged_into)
    for exemplar in exemplars:
        owner = trial.individuals.get(exemplar.individual_id)
        _require(
            owner is not None and owner.status in ("living", "retired"),
            f"the animal of the picture {exemplar.display} is not in the gallery",
        )
        _require(exemplar.exemplar_id not in state.exemplars, f"{exemplar.display} is there")
    state.individuals = trial.individuals
    state.exemplars.update({one.exemplar_id: one for one in exemplars})


def _undo(state: GalleryState, entry: Entry) -> None:
    """Has had its effect: the entries it names were left out."""


_APPLY: dict[str, Callable[[GalleryState, Entry], None]] = {
    "enrol": _enrol,
    "confirm": _say,
    "assign": _say,
    "reject": _reject,
    "merge": _merge,
    "split": _split,
    "rename": _rename,
    "retire": _retire,
    "flank": _flank,
    "move": _move,
    "import": _import,
    "undo": _undo,
}


def _give(state: GalleryState, exemplars: Sequence[Exemplar], individual_id: str) -> None:
    for one in exemplars:
        state.exemplars[one.exemplar_id] = replace(one, individual_id=individual_id)


def _living(state: GalleryState, individual_id: str | None) -> Individual:
    one = state.individuals.get(individual_id or "")
    if one is None:
        raise GalleryError(f"there is no animal {individual_id}")
    if one.status == "merged":
        into = state.current(one.individual_id)
        raise GalleryError(
            f"{printable(one.name)} was merged into {printable(into.name)}; name that one"
        )
    _require(
        one.status == "living",
        f"{printable(one.name)} is {one.status}; undo that first, its number is in "
        "`edge-gallery history`",
    )
    return one


def _require_kept(state: GalleryState, individual_id: str) -> None:
    one = state.individuals.get(individual_id)
    _require(
        one is not None and one.status != "undone",
        f"the animal {printable(one.name) if one else individual_id} is not in the gallery",
    )


def _require_new(state: GalleryState, individual: Individual) -> None:
    _require(
        individual.individual_id not in state.individuals,
        f"the id {individual.individual_id} is taken",
    )
    _require_free(state, individual.name)


def _require_free(state: GalleryState, name: str) -> None:
    other = state.living_named(name)
    if other is not None:
        pictures = counted(len(state.exemplars_of(other.individual_id)), "picture")
        raise GalleryError(
            f"there is another animal called {printable(name)} ({pictures}); choose another "
            "name, or make the two one with `edge-gallery merge`"
        )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise GalleryError(otherwise)
