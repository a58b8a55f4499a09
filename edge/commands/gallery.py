"""edge-gallery: the animals this device knows by name; enrolling and looking at them.

What changes them is in curate.py, files and other models in transfer.py.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge.commands import curate as changes
from edge.commands import identity, index, transfer
from edge.commands.common import (
    ByOption,
    JsonOption,
    ModelOption,
    ProviderOption,
    StateOption,
    make_group,
    open_installed,
    plain_errors,
    warn_of_fallback,
)
from edge.errors import GalleryError, InputError
from edge.gallery import curate, gallery_log, lookup, proposals
from edge.gallery.enroll import Candidate, Enrolment, enroll, read_candidates
from edge.gallery.gallery import explain, open_gallery
from edge.gallery.gallery_state import Entry, GalleryState, Individual
from edge.gallery.history import tell
from edge.identity import lights
from edge.identity.fitted import kept_thresholds
from edge.record import store_log
from edge.record.state import find_state, locked
from edge.record.store import Store, open_reader, open_store
from edge.text import counted, printable, quoted

_MAX_TOLD = 10  # lines of one kind
app = make_group(
    "The animals that edge-watch knows by name.",
    "Example: edge-gallery enroll known/ (one sub-folder an individual), then edge-gallery list. "
    "Every change is an entry of a log and can be undone: edge-gallery history.",
)
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="As the gallery was then, such as 2026-05-01T12:00 (this device's time zone).",
    ),
]
AnimalArgument = Annotated[
    str, typer.Argument(metavar="ANIMAL", help="A name, or an id, its beginning or its end.")
]
identity.register(app)
index.register(app)


@app.command("enroll", epilog="Example: edge-gallery enroll known/ --model leopards.onnx")
@plain_errors
def _enroll(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            readable=False,
            help="A folder with one sub-folder an individual; a metadata.csv with the columns "
            "identity and path (optional: bbox, date, position, encounter, split); or a training "
            "run, whose clusters get provisional names.",
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(help="Take only rows of this split of a metadata.csv, such as gallery."),
    ] = None,
    model: ModelOption = None,
    provider: ProviderOption = "auto",
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Add pictures of known animals to the gallery: all of them, or none when it is stopped.

    Doing it twice adds nothing twice; a name that is there already gets the new pictures too.
    """
    folder = find_state(state)
    found = read_candidates(source, split)
    candidates = found.pictures
    encoder = open_installed(model, folder, provider)
    warn_of_fallback(encoder)
    with locked(folder):
        store = open_store(folder.database)
        try:
            with _progress() as progress:
                bar = progress.add_task("enrolling", total=len(candidates))
                done = enroll(
                    store,
                    folder,
                    encoder,
                    candidates,
                    lambda number: progress.advance(bar, number),
                    by or curate.system_user(),
                )
            _tell(done, candidates)
            _tell_lines("left out, as it lies in no individual's folder", found.nameless)
            lights.look_at_exemplars(store)
            gallery = open_gallery(store, encoder.manifest)
            thresholds = kept_thresholds(store, gallery, encoder.manifest)
        finally:
            store.close()
    num_individuals = len(gallery.individual_ids)
    typer.echo(
        f"the gallery now holds {counted(num_individuals, 'individual')} with "
        f"{counted(len(gallery), 'exemplar')}"
    )
    typer.echo(f"decisions: {explain(thresholds, num_individuals)}")
    if gallery.advice:
        typer.echo(gallery.advice)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _tell(done: Enrolment, candidates: list[Candidate]) -> None:
    num_added = sum(done.added.values())
    if not num_added and len(done.unusable) == len(candidates):
        raise GalleryError(
            f"none of the {counted(len(candidates), 'picture')} can be used; the first is "
            f"{done.unusable[0]}"
        )
    typer.echo(
        f"added {counted(num_added, 'exemplar')} of {counted(len(done.added), 'individual')}"
        + (f"; {len(done.already_there)} were there already" if done.already_there else "")
    )
    _tell_lines("could not be used", done.unusable)
    _tell_lines("shows two individuals, please check", done.also_elsewhere)


def _tell_lines(what: str, lines: list[str]) -> None:
    for line in lines[:_MAX_TOLD]:
        typer.echo(f"  {what}: {line}")
    if len(lines) > _MAX_TOLD:
        typer.echo(f"  ... and {len(lines) - _MAX_TOLD} more")


@app.command("list", epilog="Example: edge-gallery list --at 2026-05-01T12:00")
@plain_errors
def _list(
    everyone: Annotated[
        bool, typer.Option("--all", help="Also those retired, merged into others, or undone.")
    ] = False,
    only_proposals: Annotated[
        bool,
        typer.Option(
            "--proposals", help="Only the new animals that may be another, with how to merge them."
        ),
    ] = False,
    at: AtOption = None,
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Print every individual: name, exemplars (left, right flank), id; provisional names marked."""
    if only_proposals:
        _list_proposals(state, everyone or as_json or at is not None)
        return
    known = _read(state, at)
    shown = sorted(
        (one for one in known.individuals.values() if everyone or one.status == "living"),
        key=lambda one: one.name,
    )
    if as_json:
        typer.echo(json.dumps([_as_json(known, one) for one in shown], indent=2))
        return
    if not shown:
        typer.echo("the gallery is empty; add animals with `edge-gallery enroll FOLDER`")
    for one in shown:
        mark = "  provisional" if one.provisional else ""
        typer.echo(f"{_line(known, one)}  {one.individual_id}{mark}{_status(known, one)}")


def _list_proposals(state: Path | None, with_others: bool) -> None:
    if with_others:
        raise InputError("--proposals stands alone: leave --all, --at and --json away")
    store = open_reader(find_state(state).database)
    try:
        found = proposals.proposals(store)
    finally:
        store.close()
    for one in found:
        typer.echo(
            f"{printable(one.one_name)} may be {printable(one.other_name)} (similarity "
            f"{one.similarity:.2f}). If so: edge-gallery merge {quoted(one.one_name)} "
            f"{quoted(one.other_name)}"
        )
    if not found:
        typer.echo("no new animal looks like another")


@app.command("show", epilog="Example: edge-gallery show Luna --at 2026-05-01T12:00")
@plain_errors
def _show(
    animal: AnimalArgument,
    at: AtOption = None,
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Print one individual with its pictures: id, flank, encounter, when it was taken, file."""
    known = _read(state, at)
    one = lookup.find(known, animal)
    exemplars = known.exemplars_of(one.individual_id)
    if as_json:
        content = _as_json(known, one) | {"exemplars": [dataclasses.asdict(e) for e in exemplars]}
        typer.echo(json.dumps(content, indent=2))
        return
    mark = ", a provisional name" if one.provisional else ""
    typer.echo(f"{_line(known, one)}{mark}{_status(known, one)}")
    typer.echo(f"id: {one.individual_id}, since {one.created_at}")
    for other in _merged(known, one):
        typer.echo(f"once also: {printable(other.name)}  {other.individual_id}")
    for each in exemplars:
        when = each.captured_at or "time unknown"
        encounter = f"  encounter {printable(each.encounter)}" if each.encounter else ""
        typer.echo(f"  {each.exemplar_id}  {each.flank}  {when}{encounter}  {each.display}")


@app.command("history", epilog="Example: edge-gallery history Luna, then edge-gallery undo 12")
@plain_errors
def _history(
    animal: Annotated[
        str | None, typer.Argument(metavar="[ANIMAL]", help="Default: the whole gallery.")
    ] = None,
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Print what was done to the gallery: number, when, who, what; what is undone is marked."""
    store = open_reader(find_state(state).database)
    try:
        entries = store_log.entries(store)
    finally:
        store.close()
    known = gallery_log.replay(entries)
    ids = {lookup.find(known, animal).individual_id} if animal else set()
    ids |= {one.individual_id for key in ids for one in _merged(known, known.individuals[key])}
    undone = gallery_log.undone_by(entries)
    shown = [one for one in entries if not animal or _concerns(one, ids)]
    if as_json:
        rows = [
            dataclasses.asdict(one)
            | {"undone_by": undone[one.entry_id].seq if one.entry_id in undone else None}
            for one in shown
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for one in shown:
        by = undone.get(one.entry_id)
        mark = f"  (undone by {by.seq})" if by else ""
        what = tell(known, entries, one)
        typer.echo(f"{one.seq:>4}  {one.logged_at}  {printable(one.who)}  {what}{mark}")


def _concerns(entry: Entry, ids: set[str]) -> bool:
    named = {entry.individual_id, entry.details.get("into"), entry.details.get("to")}
    return bool(ids & named)


def _read(state: Path | None, at: str | None) -> GalleryState:
    store: Store = open_reader(find_state(state).database)
    try:
        if at is None:
            return store_log.load(store)
        return gallery_log.replay(gallery_log.until(store_log.entries(store), _moment(at)))
    finally:
        store.close()


def _moment(text: str) -> str:
    """In UTC, as the log writes it."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise InputError(
            f"--at {printable(text)} is no time; write it like 2026-05-01T12:00"
        ) from error
    moment = moment.astimezone(timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(known: GalleryState, one: Individual) -> str:
    exemplars = known.exemplars_of(one.individual_id)
    sides = [each.flank for each in exemplars]
    flanks = f"{sides.count('left')} left, {sides.count('right')} right"
    return f"{printable(one.name)}  {counted(len(exemplars), 'exemplar')} ({flanks})"


def _status(known: GalleryState, one: Individual) -> str:
    if one.status == "living":
        return ""
    if one.status == "merged":
        return f"  merged into {printable(known.current(one.individual_id).name)}"
    return f"  {one.status}"


def _merged(known: GalleryState, one: Individual) -> list[Individual]:
    return [
        other
        for key, other in known.individuals.items()
        if other.status == "merged" and known.current(key) == one
    ]


def _as_json(known: GalleryState, one: Individual) -> dict[str, object]:
    sides = [each.flank for each in known.exemplars_of(one.individual_id)]
    return dataclasses.asdict(one) | {
        "current_id": known.current(one.individual_id).individual_id,
        "num_exemplars": len(sides),
        "num_left": sides.count("left"),
        "num_right": sides.count("right"),
    }


app.add_typer(changes.app)
app.add_typer(transfer.app)
