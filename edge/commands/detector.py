"""edge-admin detector: a detector's file and the JSON that describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from edge import media
from edge.commands.common import plain_errors
from edge.detect import FoundObject
from edge.detection.detector import Detector, open_detector, read_file, spec_path
from edge.detection.detector_proposal import propose
from edge.detection.detector_spec import to_json
from edge.errors import InputError, ModelError
from edge.preprocess import Image
from edge.record.state import write_file
from edge.text import counted, printable

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="What finds animals in pictures."
)
_COLOURS = {"animal": (60, 200, 60), "human": (60, 60, 230), "vehicle": (230, 150, 50)}  # BGR


@app.callback()
def _main() -> None:
    """What finds animals in pictures."""


@app.command("check", epilog="Example: edge-admin detector check md_v5a.onnx --on bear.jpg")
@plain_errors
def _check(
    detector: Annotated[
        Path, typer.Argument(metavar="FILE.onnx", readable=False, help="The detector.")
    ],
    on: Annotated[
        Path,
        typer.Option(
            "--on",
            metavar="PICTURE",
            readable=False,
            help="A picture with an animal in it, to see whether the boxes lie right.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jpg",
            readable=False,
            help="Where the picture with its boxes goes. Default: FILE.check.jpg here.",
        ),
    ] = None,
) -> None:
    """Run a detector on one picture and draw what it finds.

    Without a FILE.json beside it, the shapes of the file are read, a description is proposed and
    written there; correct it where it is wrong and check again.
    """
    description = spec_path(detector)
    if not description.exists():
        _propose(detector, description)
    found_by = open_detector(detector)
    image_HWC = media.decode(media.read_bytes(on)).image_HWC
    found = found_by.find(image_HWC)
    _tell(found_by, found, on)
    target = out or Path(f"{detector.stem}.check.jpg")
    _draw(image_HWC, found, target)
    typer.echo(f"look at {target}: a box must lie close around each animal")


def _propose(detector: Path, description: Path) -> None:
    try:
        proposal = propose(read_file(detector))
    except ModelError as error:
        raise ModelError(f"{detector}: {error}") from error
    write_file(description, to_json(proposal.spec).encode())
    shown = ", ".join(str(list(one)) for one in proposal.shapes)
    typer.echo(f"outputs {shown}: layout {proposal.spec.layout}; wrote {description}")
    for doubt in proposal.doubts:
        typer.echo(f"check: {doubt}")


def _tell(detector: Detector, found: list[FoundObject], picture: Path) -> None:
    spec = detector.spec
    typer.echo(
        f"{spec.layout}, input {spec.height} x {spec.width}, {len(spec.types)} of "
        f"{counted(len(spec.classes), 'class', 'classes')} count, confidence "
        f"{spec.min_confidence:g} or more"
    )
    for one in found:
        box = one.box
        typer.echo(
            f"{one.observation_type}  {one.confidence:.2f}  at {box.x:.3f}, {box.y:.3f}, size "
            f"{box.width:.3f} x {box.height:.3f}"
        )
    if not found:
        typer.echo(
            f"nothing found in {printable(str(picture))}; if there is an animal in it, try a lower "
            "min_confidence, then the other colours, divide_by and layout in the JSON"
        )


def _draw(image_HWC: Image, found: list[FoundObject], target: Path) -> None:
    height, width = image_HWC.shape[:2]
    canvas = np.ascontiguousarray(image_HWC[..., ::-1])
    thickness = max(2, round(max(height, width) / 400))
    for one in found:
        corner = round(one.box.x * width), round(one.box.y * height)
        opposite = (
            round((one.box.x + one.box.width) * width),
            round((one.box.y + one.box.height) * height),
        )
        colour = _COLOURS.get(one.observation_type, (200, 200, 200))
        cv2.rectangle(canvas, corner, opposite, colour, thickness)
        label = f"{one.observation_type} {one.confidence:.2f}"
        place = corner[0], max(corner[1] - 2 * thickness, 12 * thickness)
        cv2.putText(
            canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, thickness / 2.5, colour, thickness
        )
    done, jpeg = cv2.imencode(".jpg", canvas)
    if not done:
        raise InputError(f"cannot draw into {target}")
    write_file(target, jpeg.tobytes())
