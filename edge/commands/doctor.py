"""edge-admin doctor: how the device is, with advice."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import time
from pathlib import Path
from typing import Annotated

import typer

from edge import config
from edge.commands.common import JsonOption, StateOption, make_group, plain_errors
from edge.config import Settings
from edge.doctor.doctor import EXIT_CODES, examine, worst
from edge.doctor.finding import Examined, Finding, problem
from edge.errors import ConfigError
from edge.operation.health_file import read_report
from edge.record.state import StateFolder, find_state
from edge.text import counted, printable

app = make_group("How the device is.", "Example: edge-admin doctor")
_DEFAULT_INBOX = Path("/camera/inbox")  # of the installer
_WIDTH = 100


@app.command("doctor", epilog="Example: edge-admin doctor --inbox /camera/inbox")
@plain_errors
def _doctor(
    state: StateOption = None,
    inbox: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            readable=False,
            help="Where pictures arrive. Default: what edge-watch last used, else "
            f"{_DEFAULT_INBOX}, if there.",
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            readable=False,
            help=f"The settings of edge-watch. Default: {config.DEFAULT_FILE}, if there.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Examine this device, with advice; exit 0 when well, 1 with advice, 2 with a problem.

    Takes some seconds, two of them for writing to the disk of the state folder. Changes no setting
    and no record.
    """
    folder = find_state(state)
    settings, findings = _read_settings(config_file)
    examined = Examined(
        folder=folder, settings=settings, inbox=inbox or _known_inbox(folder), clock=time.monotonic
    )
    for finding in findings:
        _tell(finding, as_json)
    for finding in examine(examined):
        findings.append(finding)
        _tell(finding, as_json)
    verdict = worst(findings)
    if as_json:
        record = {"verdict": verdict, "findings": [dataclasses.asdict(one) for one in findings]}
        typer.echo(json.dumps(record))
    else:
        typer.echo(_summary(findings))
    raise typer.Exit(EXIT_CODES[verdict])


def _read_settings(file: Path | None) -> tuple[Settings, list[Finding]]:
    """The settings, and a finding where they are broken (then the built-in ones)."""
    try:
        return config.read_settings(file), []
    except ConfigError as error:
        advice = "mend the file; until then edge-watch does not start"
        return Settings(), [problem("settings", printable(str(error)), advice)]


def _known_inbox(folder: StateFolder) -> Path | None:
    try:
        report = read_report(folder)
    except OSError:
        report = None  # the checks of the state folder say so
    if report is not None:
        return Path(report.inbox)
    return _DEFAULT_INBOX if _DEFAULT_INBOX.exists() else None


def _tell(finding: Finding, as_json: bool) -> None:
    if as_json:
        return
    indent = " " * 24
    head = f"{finding.level:<9}{finding.check:<15}"
    typer.echo(_wrapped(head + finding.message, indent))
    if finding.advice:
        typer.echo(_wrapped(f"{indent}-> {finding.advice}", indent + "   "))


def _wrapped(text: str, indent: str) -> str:
    """In lines of a terminal; paths and commands are not broken at their hyphens."""
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _summary(findings: list[Finding]) -> str:
    numbers = {level: sum(one.level == level for one in findings) for level in EXIT_CODES}
    return (
        f"{counted(len(findings), 'check')}: {numbers['ok']} ok, {numbers['advice']} with advice, "
        f"{counted(numbers['problem'], 'problem')}"
    )
