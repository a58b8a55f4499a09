"""The entry functions of the four device commands.

Nothing is loaded before it is needed: what a command does not use, it does not wait for.
"""

from __future__ import annotations

import importlib
import sys

from edge.commands.version import version


def watch() -> None:
    _run("edge-watch", "edge.commands.watch")


def gallery() -> None:
    _run("edge-gallery", "edge.commands.gallery")


def report() -> None:
    _run("edge-report", "edge.commands.report")


def admin() -> None:
    _run("edge-admin", "edge.commands.admin")


def _run(name: str, module: str) -> None:
    if sys.argv[1:] == ["--version"]:  # loading the parser of flags takes longer than the rest
        print(version())
        sys.exit(0)
    from edge.commands.common import run_app

    run_app(importlib.import_module(module).app, name)
