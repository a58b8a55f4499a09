"""edge-admin: the model on this device, and the files that could not be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import store_report
from edge.cli_common import StateOption, make_group, plain_errors
from edge.encoder import Encoder, open_encoder
from edge.errors import GalleryError
from edge.gallery import require_encoder
from edge.model import Manifest
from edge.state import StateFolder, find_state, locked, write_file
from edge.store import open_reader
from edge.text import printable

app = make_group("Look after the device.", "Example: edge-admin model install leopards.onnx")
_model = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="The model file.")
_quarantine = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Files that could not be used."
)
app.add_typer(_model, name="model")
app.add_typer(_quarantine, name="quarantine")
_ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", readable=False, help="The .onnx file that `fancl-export` wrote."
    ),
]


@_model.command("info", epilog="Example: edge-admin model info leopards.onnx")
@plain_errors
def _info(file: _ModelFile) -> None:
    """Check a model on this machine and print what it is."""
    encoder = open_encoder(file)
    for line in _describe(encoder.manifest):
        typer.echo(line)
    check = encoder.check_golden()
    typer.echo(f"check on this machine: passed (cosine {check.worst_cosine:.6f})")


@_model.command("install", epilog="Example: edge-admin model install leopards.onnx")
@plain_errors
def _install(
    file: _ModelFile,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also where the gallery was enrolled with another encoder."),
    ] = False,
    state: StateOption = None,
) -> None:
    """Check a model on this machine and make it the one that edge-watch uses.

    The model before it is kept as STATE/model.previous.onnx.
    """
    encoder = open_encoder(file)
    model_bytes = file.read_bytes()
    folder = find_state(state)
    with locked(folder):
        if not force:
            _require_fit(folder, encoder)
        if folder.model.is_file() and (previous := folder.model.read_bytes()) != model_bytes:
            write_file(folder.previous_model, previous)
            typer.echo(f"the model before it is kept as {folder.previous_model}")
        write_file(folder.model, model_bytes)
    typer.echo(
        f"installed {printable(encoder.manifest.name)}, encoder "
        f"{encoder.manifest.encoder_id[:12]}, as {folder.model}"
    )


def _require_fit(folder: StateFolder, encoder: Encoder) -> None:
    if not folder.database.is_file():
        return
    store = open_reader(folder.database)
    try:
        require_encoder(store, encoder.manifest.encoder_id)
    except GalleryError as error:
        raise GalleryError(
            f"not installed: {error}. `--force` installs it here all the same; edge-watch then "
            "refuses to start with this gallery"
        ) from error
    finally:
        store.close()


def _describe(manifest: Manifest) -> list[str]:
    spec = manifest.input
    lines = [
        f"name: {printable(manifest.name)}",
        f"encoder: {manifest.encoder_id}",
        f"method: {manifest.method} on {manifest.backbone}, {manifest.precision}",
        f"input: {spec.width} x {spec.height} pixels, {spec.resize}",
        f"embedding: {manifest.embedding_dim} numbers",
        f"licence: {manifest.licence or 'not stated'}",
    ]
    if manifest.evaluation:
        figures = manifest.evaluation
        lines.append(
            f"measured: rank-1 {100 * figures.rank1:.1f} %, mAP {100 * figures.mAP:.1f} % "
            f"({figures.queries} queries, {figures.protocol})"
        )
    return lines


@_quarantine.command("list", epilog="Example: edge-admin quarantine list")
@plain_errors
def _list(state: StateOption = None) -> None:
    """Print every file that could not be used, and why; the files are where they were."""
    store = open_reader(find_state(state).database)
    try:
        rows = store_report.quarantine_rows(store)
    finally:
        store.close()
    if not rows:
        typer.echo("no file is in quarantine")
    for row in rows:
        typer.echo(f"{row.quarantined_at}  {row.reason}  {row.display}  ({row.detail})")
