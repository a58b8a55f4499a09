"""edge-admin: looking after the device."""

from __future__ import annotations

from edge.commands import detector, health, model, record
from edge.commands.common import make_group

app = make_group("Look after the device.", "Example: edge-admin model install leopards.onnx")
app.add_typer(model.app, name="model")
app.add_typer(detector.app, name="detector")
app.add_typer(record.quarantine, name="quarantine")
app.command("backup", epilog="Example: edge-admin backup /media/stick")(record.backup)
app.command("restore", epilog="Example: edge-admin restore /media/stick/edge.db")(record.restore)
health.add_verbs(app)
