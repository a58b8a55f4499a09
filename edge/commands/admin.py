"""edge-admin: looking after the device.

Each verb is loaded when it is used: `health`, which scripts ask for often, waits for no encoder.
"""

from __future__ import annotations

import importlib
from typing import Any

from typer.core import TyperGroup
from typer.main import get_group

from edge.commands.common import make_group
from edge.commands.loading import loading

# Where a verb is: by itself in that module's app, or all of it.
_MODULES = {
    "model": "model",
    "detector": "detector",
    "quarantine": "record",
    "backup": "record",
    "restore": "record",
    "health": "health",
    "doctor": "doctor",
}


class _Verbs(TyperGroup):
    """The verbs of edge-admin by name."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """None for a name that is no verb, which the parser then tells."""
        if cmd_name not in _MODULES:
            return None
        with loading():
            module = importlib.import_module(f"edge.commands.{_MODULES[cmd_name]}")
        group = get_group(module.app)
        found = group.commands.get(cmd_name, group)
        found.name = cmd_name
        return found


app = make_group(
    "Look after the device.", "Example: edge-admin model install leopards.onnx", _Verbs
)
