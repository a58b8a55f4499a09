"""edge-watch, and the entry functions of the four device commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import cli_admin, cli_gallery, cli_report, config, store_report
from edge.batch import Pipeline
from edge.cli_common import (
    ModelOption,
    StateOption,
    VersionOption,
    open_installed,
    plain_errors,
    run_app,
)
from edge.config import After, Settings
from edge.detect import BoxesFile
from edge.encoder import Encoder
from edge.errors import InputError
from edge.gallery import Gallery, explain, fit_thresholds, open_gallery
from edge.inbox import Inbox
from edge.sightings import Judge
from edge.state import StateFolder, find_state, locked
from edge.store import DECISIONS_KEY, Store, open_store, put_meta
from edge.text import counted, printable
from edge.watch import Watch, others_line, stopped_by_signals, summary_line

_watch_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def watch() -> None:
    run_app(_watch_app, "edge-watch")


def gallery() -> None:
    run_app(cli_gallery.app, "edge-gallery")


def report() -> None:
    run_app(cli_report.app, "edge-report")


def admin() -> None:
    run_app(cli_admin.app, "edge-admin")


@_watch_app.command(
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
            help="Where the animals are: a MegaDetector JSON, its file names relative to INBOX. "
            "Default: each picture as a whole is one animal.",
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
        config.read_settings(config_file), model=model, after=after, boxes=boxes
    )
    source = Inbox(inbox, settings.settle_seconds, settings.max_wait_seconds)
    folder = find_state(state)
    _require_apart(inbox, folder)
    boxes_file = BoxesFile(settings.boxes, settings.min_confidence) if settings.boxes else None
    encoder = open_installed(settings.model, folder, settings.num_threads)
    with locked(folder):
        store = open_store(folder.database)
        try:
            pipeline = _pipeline(source, folder, store, encoder, boxes_file, settings)
            _run(Watch(pipeline, settings, typer.echo), pipeline, inbox, once)
        finally:
            store.close()


def _require_apart(inbox: Path, folder: StateFolder) -> None:
    if folder.root.resolve().is_relative_to(inbox.resolve()):
        raise InputError(
            f"the state folder {folder.root} lies inside the inbox {inbox}, so its own crops would "
            "be taken for new pictures; give another folder with --state DIR"
        )


def _pipeline(
    inbox: Inbox,
    folder: StateFolder,
    store: Store,
    encoder: Encoder,
    boxes: BoxesFile | None,
    settings: Settings,
) -> Pipeline:
    manifest = encoder.manifest
    known = open_gallery(store, manifest)
    thresholds = fit_thresholds(known, manifest)
    typer.echo(f"model: {printable(manifest.name)}, encoder {manifest.encoder_id[:12]}")
    typer.echo(_gallery_line(known))
    if len(known):
        meaning = explain(thresholds, len(known.individual_ids))
        typer.echo(f"decisions: {meaning}")
        put_meta(store, DECISIONS_KEY, meaning)
    return Pipeline(
        inbox=inbox,
        state=folder,
        store=store,
        encoder=encoder,
        judge=Judge(
            gallery=known,
            thresholds=thresholds,
            model=manifest.name,
            encoder_id=manifest.encoder_id,
            event_gap_seconds=settings.event_gap_seconds,
        ),
        boxes=boxes,
        after=settings.after,
    )


def _gallery_line(known: Gallery) -> str:
    if not len(known):
        return (
            "gallery: empty, so nobody can be named; enrol known animals with "
            "`edge-gallery enroll FOLDER` (one sub-folder an individual). Going on without"
        )
    return (
        f"gallery: {counted(len(known.individual_ids), 'individual')}, "
        f"{counted(len(known), 'exemplar')}"
    )


def _run(watching: Watch, pipeline: Pipeline, inbox: Path, once: bool) -> None:
    with stopped_by_signals(watching):
        if once:
            watching.run_once()
        else:
            watching.run_until_stopped()
    rows = [
        row
        for event_id in watching.events_told()
        for row in store_report.event_rows(pipeline.store, event_id)
    ]
    _tell_oddities(watching)
    if once and not watching.counts and watching.last_scan and watching.last_scan.is_empty:
        typer.echo(f"no pictures in {printable(str(inbox))}")
    else:
        typer.echo(f"done: {summary_line(watching, rows)}")
    if watching.is_interrupted:
        raise KeyboardInterrupt


def _tell_oddities(watching: Watch) -> None:
    others = others_line(watching.last_scan.others) if watching.last_scan else None
    if others:
        typer.echo(others)
    num_unlisted, num_untimed = watching.counts["not in boxes"], watching.counts["file time"]
    if num_unlisted:
        typer.echo(
            f"{counted(num_unlisted, 'picture is', 'pictures are')} not in the boxes file and "
            "left unclassified: run the detector over the whole inbox, or leave --boxes away"
        )
    if num_untimed:
        typer.echo(
            f"{counted(num_untimed, 'picture carries', 'pictures carry')} no camera time: each is "
            "an event of its own, at its file's time, which may be that of a copy"
        )
