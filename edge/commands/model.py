"""edge-admin model: what a model is, whether it works here, which one this device uses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from edge import model
from edge.commands.common import (
    ProviderOption,
    StateOption,
    place_in,
    plain_errors,
    require_installed,
    warn,
    warn_of_fallback,
)
from edge.compute.opening import Place, check_here
from edge.compute.providers import in_words
from edge.compute.runtime import runtime
from edge.compute.session import CPU
from edge.encoder import Encoder, read_model
from edge.errors import GalleryError, ModelError
from edge.model import Manifest
from edge.model_file import describe, installed, speed
from edge.record.state import StateFolder, find_state, locked
from edge.record.store import open_reader
from edge.text import counted, printable

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="The model file.")
_WRITTEN = "The .onnx file that `fancl-export` wrote."
_ModelFile = Annotated[Path, typer.Argument(metavar="FILE", readable=False, help=_WRITTEN)]
_AnyModel = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", readable=False, help=f"{_WRITTEN} Default: the installed one."
    ),
]
_Force = Annotated[
    bool, typer.Option("--force", help="Also where the gallery was enrolled with another encoder.")
]


@app.command("info", epilog="Example: edge-admin model info leopards.onnx")
@plain_errors
def _info(file: _AnyModel = None, state: StateOption = None) -> None:
    """Print what a model is and how good it was found to be; nothing is computed."""
    path = _path_of(file, state)
    try:
        manifest = model.read_manifest(read_model(path))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    for line in _description(manifest):
        typer.echo(printable(line))


@app.command("verify", epilog="Example: edge-admin model verify leopards.onnx")
@plain_errors
def _verify(
    file: _AnyModel = None, provider: ProviderOption = "auto", state: StateOption = None
) -> None:
    """Check everything about a model on this machine, and measure how fast it is here."""
    path = _path_of(file, state)
    model_bytes = read_model(path)
    encoder = check_here(model_bytes, path, Place(provider=provider, tell=warn))
    warn_of_fallback(encoder)
    check, golden = encoder.check_golden(), encoder.manifest.golden
    measured = speed.measure(encoder, time.perf_counter)
    spec = encoder.manifest.input
    for line in (
        f"file: {len(model_bytes)} bytes, whole and as it was exported",
        f"encoder: {encoder.manifest.encoder_id}, recomputed from the graph",
        "graph: ONNX's own operators, no other file needed",
        f"check: {counted(golden.shape[0], 'embedding')} reproduced, worst cosine "
        f"{check.worst_cosine:.6f}, needed {check.min_cosine}",
        f"runs {encoder.choice} ({runtime()})",
        f"speed here: {measured.crops_per_second:.4g} crops a second (median of "
        f"{counted(measured.num_rounds, 'round')} of {measured.crops_per_round} crops, "
        f"{spec.width} x {spec.height} pixels, from pixels at that size to embeddings)",
    ):
        typer.echo(line)


@app.command("install", epilog="Example: edge-admin model install leopards.onnx")
@plain_errors
def _install(file: _ModelFile, force: _Force = False, state: StateOption = None) -> None:
    """Check a model on this machine and make it the one that edge-watch uses.

    The model before it is kept as STATE/model.previous.onnx; `rollback` takes it back.
    """
    model_bytes = read_model(file)
    folder = find_state(state)
    encoder = check_here(model_bytes, file, place_in(folder, in_words(CPU)))
    with locked(folder):
        _require_fit(folder, encoder, force, "not installed")
        replaced = installed.put_in_place(folder, model_bytes)
    if replaced:
        typer.echo(f"the model before it is kept as {folder.previous_model}")
    typer.echo(f"installed {_named(encoder.manifest)}, as {folder.model}")


@app.command("rollback", epilog="Example: edge-admin model rollback")
@plain_errors
def _rollback(force: _Force = False, state: StateOption = None) -> None:
    """Take back the model before the last `install`; a second time goes forward again."""
    folder = find_state(state)
    with locked(folder):
        model_bytes = installed.previous(folder)
        encoder = check_here(model_bytes, folder.previous_model, place_in(folder, in_words(CPU)))
        _require_fit(folder, encoder, force, "not rolled back")
        installed.put_in_place(folder, model_bytes)
    typer.echo(f"rolled back to {_named(encoder.manifest)}, as {folder.model}")


def _path_of(file: Path | None, state: Path | None) -> Path:
    return file or require_installed(find_state(state))


def _named(manifest: Manifest) -> str:
    return f"{printable(manifest.name)}, encoder {manifest.encoder_id[:12]}"


def _require_fit(folder: StateFolder, encoder: Encoder, force: bool, refusal: str) -> None:
    if force or not folder.database.is_file():
        return
    from edge.gallery.gallery import require_encoder  # here, as it loads faiss

    store = open_reader(folder.database)
    try:
        require_encoder(store, encoder.manifest.encoder_id)
    except GalleryError as error:
        raise GalleryError(
            f"{refusal}: {error}. `--force` puts it here all the same; edge-watch then refuses to "
            "start with this gallery"
        ) from error
    finally:
        store.close()


def _description(manifest: Manifest) -> list[str]:
    counts = ", ".join(f"{number} {what}" for what, number in manifest.training.counts.items())
    return [
        f"name: {manifest.name}",
        f"species: {manifest.species or 'not stated'}",
        f"encoder: {manifest.encoder_id}",
        f"method: {describe.made(manifest)}",
        f"trained on: {counts or 'not stated'}",
        f"takes: {describe.taken_in(manifest.input)}",
        f"gives: {counted(manifest.embedding_dim, 'number')} a crop",
        f"quality: {describe.measured(manifest.evaluation)}",
        f"precision: {describe.cost_of_precision(manifest)}",
        f"thresholds: {describe.thresholds(manifest.decision)}",
        f"errors: {describe.error_rates(manifest.decision)}",
        f"licence: {describe.licence(manifest)}",
    ]
