"""The gallery's log: replayed in order, its entries give the gallery.

Pure: entries in, a gallery out. An entry that an undo names counts as never written, so undoing is
replaying without it; where a later entry then makes no sense, the undo is refused. What each entry
does is in edge/gallery/gallery_rules.py, storing them in edge/record/store_log.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge.errors import GalleryError
from edge.gallery.gallery_rules import apply, created_by
from edge.gallery.gallery_state import Entry, GalleryState


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The gallery up to `broken`, the first entry that makes no sense, and why; None: none."""

    state: GalleryState
    broken: Entry | None
    why: str


def replay(entries: Sequence[Entry]) -> GalleryState:
    """The gallery after these entries; raises GalleryError where they contradict each other."""
    outcome = _replay(entries)
    if outcome.broken is not None:
        raise GalleryError(
            f"the gallery's log makes no sense at entry {outcome.broken.seq} "
            f"({outcome.broken.action}): {outcome.why}; restore a backup of the state folder"
        )
    return outcome.state


def until(entries: Sequence[Entry], moment: str) -> list[Entry]:
    """The entries written by then (ISO 8601, UTC), up to the last of them whatever its clock."""
    written = [one.seq for one in entries if one.logged_at <= moment]
    return [one for one in entries if written and one.seq <= written[-1]]


def undone_by(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Which undo took an entry away; an undo that is itself undone takes nothing."""
    undone: dict[str, Entry] = {}
    for one in reversed(entries):
        if one.action == "undo" and one.entry_id not in undone:
            for entry_id in one.details["entries"]:
                undone.setdefault(entry_id, one)
    return undone


def plan_undo(entries: Sequence[Entry], target: Entry, with_later: bool) -> list[str]:
    """The ids to undo for `target` to be as if it had not happened.

    Itself, and with `with_later` whatever builds on it. Raises GalleryError naming the entry that
    stands in the way.
    """
    earlier = undone_by(entries).get(target.entry_id)
    if earlier is not None:
        raise GalleryError(
            f"entry {target.seq} is undone already, by entry {earlier.seq}; to bring it back "
            f"undo that one: `edge-gallery undo {earlier.seq}`"
        )
    planned = [target]
    while (broken := _broken_without(entries, planned)).broken is not None:
        one = broken.broken
        if one.seq < target.seq:
            raise GalleryError(
                f"entry {target.seq} cannot be undone: entry {one.seq} ({one.action}) would come "
                f"back, but {broken.why}"
            )
        if not with_later:
            raise GalleryError(
                f"entry {target.seq} cannot be undone by itself: entry {one.seq} ({one.action}) "
                f"builds on it ({broken.why} without it). Undo that one first, or both with "
                f"`edge-gallery undo {target.seq} --with-later`"
            )
        planned.append(one)
    return [one.entry_id for one in planned]


def _broken_without(entries: Sequence[Entry], planned: Sequence[Entry]) -> Replayed:
    trial = Entry(
        seq=entries[-1].seq + 1,
        entry_id="",
        action="undo",
        individual_id=None,
        details={"entries": [one.entry_id for one in planned]},
        who="",
        logged_at="",
    )
    return _replay([*entries, trial])


def _replay(entries: Sequence[Entry]) -> Replayed:
    undone = undone_by(entries)
    state = GalleryState()
    for one in entries:
        if one.entry_id in undone:
            continue
        try:
            apply(state, one)
        except GalleryError as error:
            return Replayed(state=state, broken=one, why=str(error))
    for one in entries:
        if one.entry_id in undone:
            for individual in created_by(one):
                state.individuals.setdefault(
                    individual.individual_id, replace(individual, status="undone", merged_into=None)
                )
    return Replayed(state=state, broken=None, why="")
