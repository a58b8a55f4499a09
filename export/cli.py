"""The command `fancl-export`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edge.errors import InputError
from trainer.terminal import Version, console, plain_errors

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    _app()


@_app.command(
    epilog="Example: fancl-export runs/first --onnx   Then, on the device: "
    "edge-admin model install model.onnx",
)
def _export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", readable=False, help="A run that fancl-train has written."
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", readable=False, help="Where to; RUN/model.onnx by default."
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write one ONNX file for devices.")] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; the run's folder by default.")
    ] = None,
    species: Annotated[str | None, typer.Option(help="What the animals are, for people.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, for people.")] = None,
    version: Version = False,
) -> None:
    """Turn a training run into the one file that a device needs.

    The file takes uint8 RGB crops and gives unit-length embeddings. It is checked against the
    trained encoder through the device's own code before it is written.
    """
    with plain_errors("nothing was written"):
        _write(source, file, onnx, name, species, licence)


def _write(
    source: Path,
    file: Path | None,
    onnx: bool,
    name: str | None,
    species: str | None,
    licence: str | None,
) -> None:
    if not onnx:
        raise InputError("say what to write: `fancl-export RUN --onnx [FILE]`")
    from export.model_file import export_run  # here, so that --help needs no torch

    folder = source if source.is_dir() else source.parent
    with console.status("exporting"):
        done = export_run(source, file or folder / "model.onnx", name, species, licence)
    worst = ", ".join(f"{value:.6f} at {size}" for size, value in done.parity.worst_cosine.items())
    say = partial(console.print, markup=False, soft_wrap=True)
    say(f"{done.path}: {done.num_bytes / 1e6:.1f} MB, encoder {done.manifest.encoder_id[:12]}")
    say(f"same as the trained encoder on {done.parity.num_crops} crops: worst cosine {worst}")
    decision = done.manifest.decision
    if decision.match_threshold is None:
        say("no thresholds: fewer than ten clusters; the gallery's own are used once it has ten")
    else:
        say(
            f"thresholds from pseudo-labels: match >= {decision.match_threshold:.3f}, "
            f"new < {decision.new_threshold:.3f}"
        )
