"""edge-watch: its flags, on top of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import config
from edge.commands.common import ModelOption, StateOption, VersionOption, plain_errors
from edge.commands.loading import loading
from edge.config import After
from edge.decoding.server import start_server
from edge.detect import People
from edge.record.state import find_state

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog="Example: edge-watch /camera/inbox --once, then edge-report html --out sightings.html"
)
@plain_errors
def _watch(
    inbox: Annotated[
        Path,
        typer.Argument(
            metavar="INBOX",
            readable=False,
            help="The folder where pictures arrive. Its first-level sub-folders are cameras "
            "(deployments).",
        ),
    ],
    once: Annotated[bool, typer.Option("--once", help="Do what is there now, then leave.")] = False,
    model: ModelOption = None,
    state: StateOption = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            readable=False,
            help=f"Settings in TOML; a flag beats them. Default: {config.DEFAULT_FILE}, if there.",
        ),
    ] = None,
    after: Annotated[
        After | None,
        typer.Option(
            help="What becomes of a picture once it is recorded: keep it in the inbox (default), "
            "move it to STATE/archive, or delete it."
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="Where the animals are, found elsewhere: a MegaDetector, SpeciesNet, "
            "PyTorch-Wildlife or COCO Camera Traps JSON, or a CSV with path and bbox. "
            "Default: each picture as a whole is one animal.",
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|motion",
            readable=False,
            help="Find the animals here: a detector as ONNX with its JSON beside it "
            "(`edge-admin detector check` writes one), or the word motion for what moves, which "
            "needs no file but cannot tell an animal from a person.",
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What computes the model: auto (the default: the fastest that computes rightly "
            "here, measured at the first start), cpu, cuda, or another that onnxruntime has on "
            "this machine.",
        ),
    ] = None,
    people: Annotated[
        People | None,
        typer.Option(
            help="What is kept of people that boxes or detector show: nothing (drop, the default), "
            "a blurred crop (blur), or a crop (keep)."
        ),
    ] = None,
    deployments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="A Camtrap DP deployments.csv: places, and optionally time_zone and "
            "clock_shift_seconds, of the cameras.",
        ),
    ] = None,
    version: VersionOption = False,
) -> None:
    """Tell which individual animals are in the pictures that arrive in INBOX.

    Runs until it is stopped (Ctrl-C or SIGTERM lose nothing), or with --once until the folder is
    done. It needs a model (made by `fancl-export`) and, to name animals, a gallery (made by
    `edge-gallery enroll`).
    """
    settings = config.override(
        config.read_settings(config_file),
        model=model,
        after=after,
        boxes=boxes,
        detector=detector,
        provider=provider,
        people=people,
        deployments=deployments,
    )
    start_server()  # before the rest of the program is loaded, which takes as long
    with loading():
        from edge.watch.service import run
    run(inbox, find_state(state), settings, once=once)
