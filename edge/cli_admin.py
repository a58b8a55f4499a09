"""edge-admin: looking after the device."""

from __future__ import annotations

from edge import cli_detector, cli_health, cli_model, cli_record
from edge.cli_common import make_group

app = make_group("Look after the device.", "Example: edge-admin model install leopards.onnx")
app.add_typer(cli_model.app, name="model")
app.add_typer(cli_detector.app, name="detector")
app.add_typer(cli_record.quarantine, name="quarantine")
app.command("backup", epilog="Example: edge-admin backup /media/stick")(cli_record.backup)
app.command("restore", epilog="Example: edge-admin restore /media/stick/edge.db")(
    cli_record.restore
)
cli_health.add_verbs(app)
