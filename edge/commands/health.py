"""edge-admin health and edge-admin doctor: how the service is, and how the device is."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import time
from pathlib import Path
from typing import Annotated

import typer

from edge import config
from edge.commands.common import StateOption, plain_errors
from edge.config import Settings
from edge.doctor.doctor import EXIT_CODES, examine, worst
from edge.doctor.finding import Examined, Finding, problem
from edge.errors import ConfigError
from edge.operation.health import OUTCOMES, Snapshot, as_record
from edge.operation.health_file import Verdict, judge, read_report
from edge.record.state import StateFolder, find_state
from edge.text import counted, printable

_HEALTH_CODES = {"ok": 0, "degraded": 1, "failed": 2}
_DEFAULT_INBOX = Path("/camera/inbox")  # of the installer
_JsonOption = Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")]
_WIDTH = 100


def add_verbs(app: typer.Typer) -> None:
    app.command("health", epilog="Example: edge-admin health")(_health)
    app.command("doctor", epilog="Example: edge-admin doctor --inbox /camera/inbox")(_doctor)


@plain_errors
def _health(state: StateOption = None, as_json: _JsonOption = False) -> None:
    """Tell how edge-watch is; exit 0 when well, 1 when degraded, 2 when failed or not running."""
    try:
        verdict = judge(find_state(state), time.monotonic())
    except OSError as error:
        verdict = Verdict(
            state="failed",
            is_running=False,
            message=f"the state folder cannot be looked at: {error.strerror}",
            advice="run this as the user of the service: `sudo -u edge-watch edge-admin health`",
            report=None,
        )
    if as_json:
        typer.echo(json.dumps(_health_record(verdict)))
    else:
        for line in _health_lines(verdict):
            typer.echo(line)
    raise typer.Exit(_HEALTH_CODES[verdict.state])


def _health_record(verdict: Verdict) -> dict[str, object]:
    record: dict[str, object] = {
        "state": verdict.state,
        "is_running": verdict.is_running,
        "message": verdict.message,
        "advice": verdict.advice,
    }
    if verdict.report is not None:
        record |= {
            "pid": verdict.report.pid,
            "written_at": verdict.report.written_at,
            "last": as_record(verdict.report.snapshot),
        }
    return record


def _health_lines(verdict: Verdict) -> list[str]:
    lines = [f"{verdict.state}: {verdict.message}"]
    if verdict.advice:
        lines.append(f"  -> {verdict.advice}")
    if verdict.report is None:
        return lines
    for reason in verdict.report.snapshot.reasons:
        lines += [
            f"{reason.kind} since {reason.since}: {printable(reason.message)}",
            f"  -> {printable(reason.advice)}",
        ]
    if verdict.is_running:
        age_seconds = max(0.0, time.monotonic() - verdict.report.monotonic)
        lines += _work_lines(verdict.report.snapshot, age_seconds)
    return lines


def _work_lines(snapshot: Snapshot, age_seconds: float) -> list[str]:
    done = {one: snapshot.frames.get(one, 0) for one in OUTCOMES}
    outcomes = ", ".join(f"{number:,} {one}" for one, number in done.items() if number)
    waiting = f"{counted(snapshot.queue_depth, 'file')} waiting"
    if snapshot.queue_depth:
        waiting += f", the first for {duration(snapshot.oldest_pending_seconds)}"
    model = snapshot.gauges.model_name
    return [
        f"started {duration(snapshot.uptime_seconds + age_seconds)} ago; done since: "
        f"{outcomes or 'nothing yet'}; {waiting} (told {duration(age_seconds)} ago)",
        f"model: {printable(model)}" if model else "model: none",
    ]


def duration(seconds: float) -> str:
    """Two figures at most: `45 s`, `12 min`, `3.5 h`, `8 days`."""
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 86400:.0f} days"


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
    as_json: _JsonOption = False,
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
