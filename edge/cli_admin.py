"""edge-admin: the model, the files that could not be used, how the service and the device are."""

from __future__ import annotations

import typer

from edge import cli_detector, cli_health, cli_model, store_report
from edge.cli_common import StateOption, make_group, plain_errors
from edge.state import find_state
from edge.store import open_reader

app = make_group("Look after the device.", "Example: edge-admin model install leopards.onnx")
_quarantine = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Files that could not be used."
)
app.add_typer(cli_model.app, name="model")
app.add_typer(cli_detector.app, name="detector")
app.add_typer(_quarantine, name="quarantine")
cli_health.add_verbs(app)


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
