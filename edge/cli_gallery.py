"""edge-gallery: the animals this device knows by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge import cli_identity, store_gallery
from edge.cli_common import ModelOption, StateOption, make_group, open_installed, plain_errors
from edge.enroll import Candidate, Enrolment, enroll, read_candidates
from edge.errors import GalleryError
from edge.gallery import explain, fit_thresholds, open_gallery
from edge.state import find_state, locked
from edge.store import open_reader, open_store
from edge.text import counted, printable

_MAX_TOLD = 10  # lines of one kind
app = make_group(
    "The animals that edge-watch knows by name.",
    "Example: edge-gallery enroll known/ (one sub-folder an individual), then edge-gallery list",
)
cli_identity.register(app)


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
    state: StateOption = None,
) -> None:
    """Add pictures of known animals to the gallery.

    Doing it twice adds nothing twice; a name that is there already gets the new pictures too.
    """
    folder = find_state(state)
    found = read_candidates(source, split)
    candidates = found.pictures
    encoder = open_installed(model, folder)
    with locked(folder):
        store = open_store(folder.database)
        try:
            with _progress() as progress:
                bar = progress.add_task("enrolling", total=len(candidates))
                done = enroll(
                    store, folder, encoder, candidates, lambda number: progress.advance(bar, number)
                )
            _tell(done, candidates)
            _tell_lines("left out, as it lies in no individual's folder", found.nameless)
            gallery = open_gallery(store, encoder.manifest)
            thresholds = fit_thresholds(gallery, encoder.manifest)
        finally:
            store.close()
    num_individuals = len(gallery.individual_ids)
    typer.echo(
        f"the gallery now holds {counted(num_individuals, 'individual')} with "
        f"{counted(len(gallery), 'exemplar')}"
    )
    typer.echo(f"decisions: {explain(thresholds, num_individuals)}")


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


@app.command("list", epilog="Example: edge-gallery list --state /var/lib/edge-watch")
@plain_errors
def _list(state: StateOption = None) -> None:
    """Print every individual: name, exemplars (left, right flank), id; provisional names marked."""
    store = open_reader(find_state(state).database)
    try:
        rows = store_gallery.individuals(store)
    finally:
        store.close()
    if not rows:
        typer.echo("the gallery is empty; add animals with `edge-gallery enroll FOLDER`")
    for row in rows:
        flanks = f"{row.num_left} left, {row.num_right} right"
        mark = "  provisional" if row.provisional else ""
        typer.echo(
            f"{printable(row.name)}  {counted(row.num_exemplars, 'exemplar')} ({flanks})  "
            f"{row.individual_id}{mark}"
        )
