"""edge-gallery: the gallery as a file for another device, and the gallery under another model.

These write into the state folder, so edge-watch must be stopped for import and reembed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from edge import model
from edge.commands.common import (
    ByOption,
    ProviderOption,
    StateOption,
    place_in,
    plain_errors,
    require_installed,
    warn_of_fallback,
)
from edge.compute.opening import check_here
from edge.encoder import read_model
from edge.errors import InputError, ModelError
from edge.gallery import curate, gallery_file, import_gallery, reembed
from edge.gallery.gallery_file import open_gallery_file
from edge.model_file import installed
from edge.record import store_log
from edge.record.state import StateFolder, find_state, locked, write_crops
from edge.record.store import open_reader, open_store
from edge.record.store_log import editing
from edge.text import counted

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("export", epilog="Example: edge-gallery export /media/stick/gallery.zip")
@plain_errors
def _export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="The zip file to write.")
    ],
    state: StateOption = None,
) -> None:
    """Write the gallery into one file: animals, pictures, embeddings, log and crops."""
    folder = find_state(state)
    store = open_reader(folder.database)
    try:
        num_pictures = gallery_file.write_gallery(store, folder, file)
    finally:
        store.close()
    typer.echo(f"wrote {file}: {counted(num_pictures, 'picture')}, {file.stat().st_size} bytes")


@app.command("import", epilog="Example: edge-gallery import /media/stick/gallery.zip --by anna")
@plain_errors
def _import(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", readable=False, help="What `edge-gallery export` wrote elsewhere."
        ),
    ],
    rename: Annotated[
        bool,
        typer.Option("--rename", help="Give a number to names that other animals have here."),
    ] = False,
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Take the animals of another device in; what is here already stays as it is.

    Animals are recognised by their permanent ids, so the same file twice adds nothing twice.
    """
    folder = find_state(state)
    with open_gallery_file(file) as content, locked(folder):
        store = open_store(folder.database)
        try:
            found = import_gallery.plan(store_log.load(store), content, rename)
            import_gallery.require_comparable(store, content, found.exemplars)
            write_crops(
                folder, (content.crop(one) for one in sorted({e.crop for e in found.exemplars}))
            )
            if not found.is_empty:
                digest = gallery_file.digest_of(file)
                with store.transaction(), editing(store, by or curate.system_user()) as editor:
                    import_gallery.record(editor, content, found, digest)
        finally:
            store.close()
    typer.echo(
        f"added {counted(len(found.individuals), 'individual')} and "
        f"{counted(len(found.exemplars), 'exemplar')}"
        + ("; all of the file was here already" if found.is_empty else "")
    )
    for line in found.remarks:
        typer.echo(f"  {line}")


@app.command("reembed", epilog="Example: edge-gallery reembed --model better.onnx")
@plain_errors
def _reembed(
    new: Annotated[
        Path | None,
        typer.Option("--model", metavar="FILE", readable=False, help="The new model."),
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Instead: go back to the model before the last switch.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Switch also to a model that finds the animals worse.")
    ] = False,
    provider: ProviderOption = "auto",
    state: StateOption = None,
) -> None:
    """Take the gallery over to another model, without enrolling again, and install that model.

    Every picture is embedded anew from its stored crop, beside the old embedding. The switch is
    made only where the new model finds the gallery's own animals as well as the old one did.
    """
    if (new is None) != back:
        raise InputError("give either the new model with --model FILE, or --back")
    folder = find_state(state)
    with locked(folder):
        before = _installed_id(folder)
        model_bytes = read_model(new) if new else installed.previous(folder)
        place = place_in(folder, provider)
        encoder = check_here(model_bytes, new or folder.previous_model, place)
        warn_of_fallback(encoder)
        store = open_store(folder.database)
        try:
            num_crops = reembed.count_missing(store, encoder.manifest.encoder_id)
            with Progress(console=Console(stderr=True), transient=True) as progress:
                bar = progress.add_task("embedding", total=num_crops)
                done = reembed.reembed(
                    store,
                    folder,
                    encoder,
                    before,
                    not (force or back),
                    lambda number: progress.advance(bar, number),
                )
        finally:
            store.close()
        installed.put_in_place(folder, model_bytes)
    _tell(done)
    typer.echo(
        f"installed {model.read_manifest(model_bytes).name}, encoder "
        f"{encoder.manifest.encoder_id[:12]}; the model before it is kept: "
        "`edge-gallery reembed --back`"
    )


def _installed_id(folder: StateFolder) -> str | None:
    """The encoder in use; None where no model is installed."""
    if not folder.model.is_file():
        return None
    path = require_installed(folder)
    try:
        return model.read_manifest(read_model(path)).encoder_id
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _tell(done: reembed.Reembedded) -> None:
    typer.echo(
        f"embedded {counted(done.num_exemplars, 'picture')} of the gallery and "
        f"{counted(done.num_detections, 'picture')} of sightings nobody has reviewed"
    )
    if done.num_without_crop:
        typer.echo(
            f"{counted(done.num_without_crop, 'picture')} of sightings without a crop cannot be "
            "compared by this model"
        )
    if done.old is not None:
        typer.echo(f"the model before: {reembed.told(done.old)}")
    typer.echo(f"this model: {reembed.told(done.new)}")
