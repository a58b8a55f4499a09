"""The command `fancl-export`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.errors import InputError
from export.fidelity import Tolerance, in_words
from trainer.terminal import Terminal, Version, console, parse_size, plain_errors

if TYPE_CHECKING:
    from export.model_file import Exported, Precision

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_TOLERATED = 0.5  # points of mAP
_PUBLISHED = ("timm:", "open_clip:")


def main() -> None:
    _app()


@_app.command(
    epilog="Examples: fancl-export runs/first --onnx   In 8 bits, for a slow device: "
    "fancl-export runs/first small.onnx --onnx --int8   A published encoder: fancl-export "
    "timm:hf-hub:BVRA/MegaDescriptor-T-224 mega.onnx --onnx   Then, on the device: edge-admin "
    "model install model.onnx",
)
def _export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A run that fancl-train has written, a checkpoint in one, or a published encoder "
            "as it is: timm:NAME, timm:hf-hub:ORG/NAME, timm:local-dir:FOLDER, open_clip:NAME "
            "(the image tower).",
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", readable=False, help="Where to; RUN/model.onnx by default."
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write one ONNX file for devices.")] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Weights and products in 8 bits: a quarter to a half of the size. On CPUs with "
            "VNNI a ResNet-50 is over three times as fast, a small MobileNet no faster.",
        ),
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision, for GPUs; half the size.")
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            readable=False,
            help="Pictures (a folder or metadata.csv) to check the file on and to calibrate int8 "
            "with; a run's own by default. A published encoder is also judged by them, where "
            "they name animals.",
        ),
    ] = None,
    tolerate: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=100.0,
            metavar="POINTS",
            help="mAP in percent that --int8 or --fp16 may lose, 0.5 by default; beyond it "
            "nothing is written.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Keep --int8 or --fp16 whatever it loses.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER|TAG|imagenet|none",
            help="Of a published encoder: a file or downloaded folder, for open_clip also one of "
            "its tags; none: random.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Input size of a published encoder; its own by default."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; the run's folder by default.")
    ] = None,
    species: Annotated[str | None, typer.Option(help="What the animals are, for people.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, for people.")] = None,
    version: Version = False,
) -> None:
    """Turn an encoder into the one file that a device needs.

    The file takes uint8 RGB crops and gives unit-length embeddings. It is checked against the
    encoder through the device's own code before it is written, and carries how well it finds
    animals again: by the query and gallery rows of the run's data, else by the run's clusters.
    """
    with plain_errors("nothing was written"):
        if not onnx:
            raise InputError("say what to write: `fancl-export SOURCE --onnx [FILE]`")
        precision = _precision(int8, fp16)
        tolerance = _tolerance(precision, tolerate, force)
        out = file or _default_file(source)
        from export.model_file import ExportRequest, export_model  # so that --help needs no torch

        request = ExportRequest(
            source=source,
            out=out,
            weights=weights,
            size=parse_size(size) if size else None,
            calibrate=calibrate,
            precision=precision,
            tolerance=tolerance,
            name=name,
            species=species,
            licence=licence,
        )
        with Terminal() as terminal:
            done = export_model(request, terminal)
        _tell(done)


def _precision(int8: bool, fp16: bool) -> Precision:
    if int8 and fp16:
        raise InputError("--int8 and --fp16 are two files: run the command once for each")
    return "int8" if int8 else "fp16" if fp16 else "fp32"


def _tolerance(precision: Precision, points: float | None, force: bool) -> Tolerance:
    if precision == "fp32" and (force or points is not None):
        flag = "--force" if force else "--tolerate"
        raise InputError(f"{flag} is for --int8 and --fp16; fp32 loses nothing")
    return Tolerance(mAP_loss=(_TOLERATED if points is None else points) / 100, force=force)


def _default_file(source: str) -> Path:
    if source.startswith(_PUBLISHED):
        raise InputError(
            f"{source} is no run with a folder to write into: say where, for example "
            f"`fancl-export {source} model.onnx --onnx`"
        )
    path = Path(source)
    return (path if path.is_dir() else path.parent) / "model.onnx"


def _tell(done: Exported) -> None:
    say = partial(console.print, markup=False, soft_wrap=True)
    manifest = done.manifest
    say(f"{done.path}: {done.num_bytes / 1e6:.1f} MB, encoder {manifest.encoder_id[:12]}")
    worst = ", ".join(f"{value:.6f} at {size}" for size, value in done.parity.worst_cosine.items())
    same = f"{done.parity.num_crops} {done.parity.of}"
    say(f"the fp32 graph gives what the encoder gives on {same}: worst cosine {worst}")
    evaluation, fidelity, decision = manifest.evaluation, manifest.fidelity, manifest.decision
    if evaluation is not None and fidelity is not None:
        kept = " FORCED beyond what is tolerated;" if fidelity.forced else ""
        say(f"{done.how}:{kept} {in_words(fidelity, evaluation)}")
    elif evaluation is not None:
        say(
            f"mAP {100 * evaluation.mAP:.1f}, rank-1 {100 * evaluation.rank1:.1f} by "
            f"{evaluation.source}: {evaluation.queries} queries, {evaluation.protocol}"
        )
    else:
        say("not judged: no pictures whose animals are known")
    if decision.match_threshold is None:
        say("no thresholds: fewer than ten animals; the gallery's own are used once it has ten")
    else:
        say(
            f"thresholds from {decision.source}: match >= {decision.match_threshold:.3f}, "
            f"new < {decision.new_threshold:.3f}"
        )
