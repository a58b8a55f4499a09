"""The entry functions of the four device commands.

Nothing is loaded before it is needed: what a command does not use, it does not wait for.
"""

from __future__ import annotations

import importlib
import os
import sys

from edge.commands.loading import loading
from edge.commands.version import version


def watch() -> None:
    # numpy reads it once, when it is loaded. The cores are busy with pictures: a second thread for
    # the small products of a decision would be waited for by a loop that takes a core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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
    with loading():
        from edge.commands.common import run_app

        app = importlib.import_module(module).app
    run_app(app, name)
