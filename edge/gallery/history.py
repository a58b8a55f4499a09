"""An entry of the gallery's log as a person would say it."""

from __future__ import annotations

from collections.abc import Sequence

from edge.gallery.gallery_state import Entry, GalleryState
from edge.text import counted, printable


def tell(known: GalleryState, entries: Sequence[Entry], entry: Entry) -> str:
    """`known` is the gallery today: animals are called by the names they have now."""
    who = _name(known, entry.individual_id)
    details = entry.details
    pictures = counted(len(details.get("exemplars", [])), "picture")
    if entry.action == "undo":
        numbers = [str(one.seq) for one in entries if one.entry_id in details["entries"]]
        return f"undo of {', '.join(numbers)}"
    if entry.action == "import":
        num_animals = len(details["individuals"])
        return f"import of {counted(num_animals, 'animal')} and {pictures}"
    if entry.action in ("confirm", "assign", "reject"):
        isnt = "is not" if entry.action == "reject" else "is"
        return f"{entry.action}: the sighting {details['observation_id']} {isnt} {who}"
    said = {
        "enrol": f"of {who}, {pictures}",
        "merge": f"{who} into {_name(known, details.get('into'))}",
        "split": f"{pictures} of {who} to {_name(known, details.get('to'))}",
        "rename": f"{printable(details.get('was', ''))} to {printable(details.get('name', ''))}",
        "retire": who,
        "move": f"a picture to {who}",
        "flank": f"a picture of {who} shows {details.get('flank')}",
    }[entry.action]
    return f"{entry.action} {said}"


def _name(known: GalleryState, individual_id: object) -> str:
    one = known.individuals.get(str(individual_id))
    return printable(one.name) if one else str(individual_id)
