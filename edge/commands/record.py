"""edge-admin backup, restore and quarantine: copies of the record, and what is not in it."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.common import StateOption, make_group, plain_errors
from edge.errors import InputError, StateError
from edge.record import backup as copies
from edge.record import restore as way_back
from edge.record import store_media, store_report
from edge.record.state import StateFolder, find_state, locked, make_folder
from edge.record.store import open_reader, open_store
from edge.record.store_copy import check_thoroughly
from edge.text import counted, printable

app = make_group("The record.", "Example: edge-admin backup /media/stick")
_quarantine = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Files that could not be used."
)
app.add_typer(_quarantine, name="quarantine")


@_quarantine.command("list", epilog="Example: edge-admin quarantine list")
@plain_errors
def _list(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    state: StateOption = None,
) -> None:
    """Print every file that could not be used, and why; the files are where they were."""
    store = open_reader(find_state(state).database)
    try:
        rows = store_report.quarantine_rows(store)
    finally:
        store.close()
    if not rows and not as_json:
        typer.echo("no file is in quarantine")
    for row in rows:
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(row)))
        else:
            detail = printable(row.detail)
            typer.echo(f"{row.quarantined_at}  {row.reason}  {row.display}  ({detail})")


@_quarantine.command("retry", epilog="Example: edge-admin quarantine retry --reason crashed")
@plain_errors
def _retry(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="Files as `quarantine list` shows them."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="All files with this reason.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All files.")] = False,
    state: StateOption = None,
) -> None:
    """Let files be read again from the start; edge-watch does so when it is started next."""
    if sum((bool(paths), reason is not None, everything)) != 1:
        raise InputError("give the files to retry, or --reason REASON, or --all")
    folder = find_state(state)
    open_reader(folder.database).close()  # a sentence where there is none
    with locked(folder):
        store = open_store(folder.database)
        try:
            with store.transaction():
                freed = store_media.free_quarantined(store, paths or None, reason)
        finally:
            store.close()
    unknown = sorted(set(paths or []) - set(freed))
    if unknown:
        shown = ", ".join(printable(one) for one in unknown)
        typer.echo(f"not in quarantine: {shown}; `edge-admin quarantine list` shows what is")
    typer.echo(f"{counted(len(freed), 'file')} will be read again when edge-watch starts")
    if unknown:
        raise typer.Exit(1)


@app.command("backup", epilog="Example: edge-admin backup /media/stick")
@plain_errors
def _backup(
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TARGET]",
            readable=False,
            help="A file, or a folder that is there. Default: STATE/backups, which keeps the "
            f"last {copies.NUM_KEPT}.",
        ),
    ] = None,
    crops: Annotated[
        bool, typer.Option("--crops", help="Also copy the crops that the folder lacks.")
    ] = False,
    state: StateOption = None,
) -> None:
    """Write a checked copy of the database, also while edge-watch runs."""
    folder = find_state(state)
    open_reader(folder.database).close()  # a sentence where there is none
    if crops and (target is None or not target.is_dir()):
        raise InputError("--crops needs a folder that is there: edge-admin backup --crops FOLDER")
    if target is None:
        written = copies.make_numbered_backup(folder)
    else:
        written = _path_in(target)
        make_folder(written.parent)
        copies.make_backup(folder.database, written)
    typer.echo(f"wrote {printable(str(written))}, checked and whole")
    if crops and target is not None:
        num_copied = copies.copy_crops(folder, target / "crops")
        typer.echo(f"copied {counted(num_copied, 'crop')} to {printable(str(target / 'crops'))}")


def _path_in(target: Path) -> Path:
    if not target.is_dir():
        return target
    return target / f"edge-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}.db"


@app.command("restore", epilog="Example: edge-admin restore /media/stick/edge.db")
@plain_errors
def _restore(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            readable=False,
            help="A copy that `edge-admin backup` wrote, put in place as it is. Default: the "
            "newest of STATE/backups and what can still be read of a damaged database.",
        ),
    ] = None,
    without_backup: Annotated[
        bool,
        typer.Option("--without-backup", help="Only what can still be read, where no copy is."),
    ] = False,
    state: StateOption = None,
) -> None:
    """Bring the database back; the one before is set aside and never deleted."""
    folder = find_state(state)
    with locked(folder):
        if file is not None:
            restored = way_back.restore_file(folder, file)
            crops = file.parent / "crops"
            if crops.is_dir() and not crops.samefile(folder.crops):
                num_copied = copies.copy_crops(StateFolder(root=file.parent), folder.crops)
                typer.echo(f"copied back {counted(num_copied, 'crop')}")
        else:
            _require_damaged(folder)
            restored = way_back.restore_newest(folder, without_backup)
    typer.echo(restored.sentence)


def _require_damaged(folder: StateFolder) -> None:
    """Going back to a copy by mistake would lose what came after it."""
    if way_back.gone(folder) or not folder.database.is_file():
        return
    try:
        store = open_store(folder.database)
    except StateError as error:
        if error.kind != "damaged":
            raise
        return
    try:
        problems = check_thoroughly(store)
    finally:
        store.close()
    if not problems:
        known = ", ".join(f"{one} of {copies.made_at(one)}" for one in copies.backups(folder))
        raise InputError(
            f"the database {folder.database} is whole; to go back to an earlier state nevertheless "
            f"name the copy: edge-admin restore FILE ({known or 'there is none yet'})"
        )
