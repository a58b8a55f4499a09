"""Changes a person makes to the gallery, each one entry of its log.

All of these run inside `store_log.editing`, which runs inside a transaction. What an entry
does, and what is refused, is in edge/gallery/gallery_rules.py; here is what goes into it.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.detect import Box
from edge.errors import GalleryError
from edge.gallery import gallery_log, lookup
from edge.gallery.gallery_state import Entry
from edge.pictures import Flank
from edge.record import store_gallery
from edge.record.store import new_id
from edge.record.store_gallery import NewEmbedding
from edge.record.store_log import Editor
from edge.text import counted, printable


@dataclass(frozen=True, kw_only=True)
class NewExemplar:
    """A picture of an animal that is about to become known."""

    sha256: str  # of the picture's bytes
    display: str
    box: Box  # relative
    flank: Flank
    encounter: str | None
    captured_at: str | None  # ISO 8601, the camera's own clock
    crop: str
    observation_id: str | None  # the sighting it comes from
    embedding: NDArray[np.float16]
    encoder_id: str


def system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return f"user {os.getuid()}"


def enrol(
    editor: Editor,
    individual_id: str | None,
    name: str,
    provisional: bool,
    exemplars: Sequence[NewExemplar],
) -> str:
    """Adds pictures to an animal; with None for its id, to a new one of this name. Gives its id."""
    described = [_described(new_id(), one) for one in exemplars]
    details: dict[str, object] = {"exemplars": described}
    if individual_id is None:
        details |= {"name": name, "provisional": provisional}
    chosen = individual_id or new_id()
    editor.record("enrol", chosen, details)
    store_gallery.add_embeddings(
        editor.store,
        [
            NewEmbedding(
                exemplar_id=str(one["exemplar_id"]),
                encoder_id=new.encoder_id,
                embedding=new.embedding,
            )
            for one, new in zip(described, exemplars, strict=True)
        ],
    )
    return chosen


def _described(exemplar_id: str, one: NewExemplar) -> dict[str, object]:
    return {
        "exemplar_id": exemplar_id,
        "sha256": one.sha256,
        "display": one.display,
        "box": [one.box.x, one.box.y, one.box.width, one.box.height],
        "flank": one.flank,
        "encounter": one.encounter,
        "captured_at": one.captured_at,
        "crop": one.crop,
        "observation_id": one.observation_id,
    }


def rename(editor: Editor, reference: str, name: str) -> str:
    one, new = lookup.find(editor.state, reference), lookup.checked_name(name)
    if new == one.name and not one.provisional:
        raise GalleryError(f"{printable(one.name)} is called so already")
    editor.record("rename", one.individual_id, {"name": new, "was": one.name})
    return f"{printable(one.name)} is now called {printable(new)}"


def merge(editor: Editor, reference: str, into: str) -> str:
    one, other = lookup.find(editor.state, reference), lookup.find(editor.state, into)
    pictures = counted(len(editor.state.exemplars_of(one.individual_id)), "picture")
    editor.record("merge", one.individual_id, {"into": other.individual_id})
    return (
        f"{printable(one.name)} is now {printable(other.name)}, with its {pictures}; old sightings "
        "of it show the new name"
    )


def split(editor: Editor, reference: str, chosen: Sequence[str], name: str) -> str:
    """Pictures (exemplar id or encounter) leave for a new animal called `name`."""
    source, state = lookup.find(editor.state, reference), editor.state
    own = state.exemplars_of(source.individual_id)
    leaving = sorted(
        {one.exemplar_id for each in chosen for one in lookup.find_exemplars(own, source, each)}
    )
    new = lookup.checked_name(name)
    details = {
        "to": new_id(),
        "name": new,
        "provisional": False,
        "exemplars": leaving,
        "revives": False,
    }
    editor.record("split", source.individual_id, details)
    return f"{counted(len(leaving), 'picture')} of {printable(source.name)} are now {new}"


def split_back(editor: Editor, reference: str, merged: str, name: str | None) -> str:
    """An animal that was merged into another lives again under its own id, with its pictures."""
    source, state = lookup.find(editor.state, reference), editor.state
    target = lookup.find_merged(state, merged, source)
    entry = _last_merge(editor.entries, target.individual_id)
    brought = gallery_log.replay([one for one in editor.entries if one.seq < entry.seq])
    leaving = [
        one.exemplar_id
        for one in brought.exemplars_of(target.individual_id)
        if one.exemplar_id in state.exemplars
        and state.exemplars[one.exemplar_id].individual_id == source.individual_id
    ]
    new = lookup.checked_name(name or target.name)
    details = {
        "to": target.individual_id,
        "name": new,
        "provisional": target.provisional,
        "exemplars": leaving,
        "revives": True,
    }
    editor.record("split", source.individual_id, details)
    return (
        f"{printable(new)} is an animal of its own again, with its "
        f"{counted(len(leaving), 'picture')}; {printable(source.name)} keeps the others"
    )


def _last_merge(entries: Sequence[Entry], individual_id: str) -> Entry:
    undone = gallery_log.undone_by(entries)
    merges = [
        one
        for one in entries
        if one.action == "merge"
        and one.individual_id == individual_id
        and one.entry_id not in undone
    ]
    if not merges:
        raise GalleryError("it was merged before it was imported; split its pictures off by id")
    return merges[-1]


def retire(editor: Editor, reference: str) -> str:
    one = lookup.find(editor.state, reference)
    editor.record("retire", one.individual_id, {})
    return (
        f"{printable(one.name)} is retired: its pictures are kept, and nothing is matched with "
        "them any more"
    )


def move(editor: Editor, reference: str, animal: str) -> str:
    """A picture that was enrolled under the wrong animal goes to the right one."""
    one = lookup.find_exemplar(editor.state, reference)
    before, target = editor.state.individuals[one.individual_id], lookup.find(editor.state, animal)
    editor.record("move", target.individual_id, {"exemplar_id": one.exemplar_id})
    return f"the picture {one.display} of {printable(before.name)} is {printable(target.name)}'s"


def set_flank(editor: Editor, reference: str, flank: Flank) -> str:
    one = lookup.find_exemplar(editor.state, reference)
    details = {"exemplar_id": one.exemplar_id, "flank": flank}
    editor.record("flank", one.individual_id, details)
    owner = printable(editor.state.individuals[one.individual_id].name)
    return f"the picture {one.display} of {owner} shows the flank: {flank}"


def undo(editor: Editor, reference: str, with_later: bool) -> list[Entry]:
    """The entries that are now as if they had not happened."""
    target = lookup.find_entry(editor.entries, reference)
    planned = gallery_log.plan_undo(editor.entries, target, with_later)
    editor.record("undo", None, {"entries": planned})
    return [one for one in editor.entries if one.entry_id in planned]
