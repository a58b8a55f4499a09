"""edge-report: what was seen, as a table or a page."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.common import StateOption, make_group, plain_errors
from edge.errors import InputError
from edge.record.state import find_state
from edge.record.store import open_reader
from edge.report.html import page
from edge.report.table import write_table

app = make_group(
    "What was seen: tables and pages made from the state folder, also while edge-watch runs.",
    "Example: edge-report csv --level event --out sightings.csv",
)


class Level(str, Enum):
    media = "media"
    event = "event"


@app.command("csv", epilog="Example: edge-report csv --level media --out detections.csv")
@plain_errors
def _csv(
    level: Annotated[
        Level,
        typer.Option(
            help="event: one row for each animal in each event. media: one row for each detection, "
            "and one for each picture without any or that could not be used."
        ),
    ] = Level.event,
    out: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write; - is the terminal.")
    ] = "-",
    state: StateOption = None,
) -> None:
    """Write the sightings as a CSV table."""
    store = open_reader(find_state(state).database)
    try:
        if out == "-":
            write_table(store, level.value, sys.stdout)
            return
        with Path(out).open("w", encoding="utf-8", newline="") as file:
            write_table(store, level.value, file)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error
    finally:
        store.close()


@app.command("html", epilog="Example: edge-report html --out sightings.html")
@plain_errors
def _html(
    out: Annotated[
        Path, typer.Option(metavar="FILE", readable=False, help="Where to write the page.")
    ],
    title: Annotated[str, typer.Option(help="The heading of the page.")] = "Who was seen",
    state: StateOption = None,
) -> None:
    """Write one page with every event, its pictures beside the nearest animals'.

    The page needs no network; it can be sent or kept as it is.
    """
    folder = find_state(state)
    store = open_reader(folder.database)
    try:
        text = page(store, folder, title)
    finally:
        store.close()
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error
    typer.echo(f"wrote {out}")
