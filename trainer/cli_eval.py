"""The command `fancl-eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trainer.terminal import Terminal, Version, device_named, plain_errors

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def evaluate() -> None:
    _app()


@_app.command(epilog="Example: fancl-eval runs/first herd/metadata.csv --per-query queries.csv")
def _evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A run, a checkpoint, a model.onnx, or timm:NAME (frozen encoder).",
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            readable=False,
            help="A metadata.csv with identity and split columns (rows query and gallery), or "
            "labelled pictures without splits: then each picture is matched with all others.",
        ),
    ],
    weights: Annotated[
        str | None, typer.Option(metavar="FILE|imagenet|none", help="For timm:NAME.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="MegaDetector JSON with the animal boxes.")
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(help="Also evaluate the run's start (frozen) and random weights."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    per_query: Annotated[
        Path | None, typer.Option(help="Write a CSV with best and runner-up of each query.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda ...; by default a GPU if any.")] = "auto",
    version: Version = False,
) -> None:
    """How well an encoder finds the same animal again: mAP and rank-1/5/10, beside controls."""
    from trainer.evaluate import evaluate_source, write_per_query

    with plain_errors("nothing was written"):
        with Terminal() as terminal:
            outcome = evaluate_source(
                source, data, weights, boxes, controls, device_named(device), terminal
            )
        if per_query is not None:
            write_per_query(per_query, outcome)
    if as_json:
        print(json.dumps(outcome.to_json()))
    else:
        print(outcome.to_text())
