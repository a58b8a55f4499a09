"""edge-admin health: how the service is."""

from __future__ import annotations

import json
import time

import typer

from edge.commands.common import JsonOption, StateOption, make_group, plain_errors
from edge.operation.health import OUTCOMES, Snapshot, as_record
from edge.operation.health_file import Verdict, judge
from edge.record.state import find_state
from edge.text import counted, printable

_HEALTH_CODES = {"ok": 0, "degraded": 1, "failed": 2}


app = make_group("How edge-watch is.", "Example: edge-admin health")


@app.command("health", epilog="Example: edge-admin health")
@plain_errors
def _health(state: StateOption = None, as_json: JsonOption = False) -> None:
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
    gauges = snapshot.gauges
    model = f"model: {printable(gauges.model_name)}" if gauges.model_name else "model: none"
    if gauges.provider:
        model += f", on {printable(gauges.provider)}"
    return [
        f"started {duration(snapshot.uptime_seconds + age_seconds)} ago; done since: "
        f"{outcomes or 'nothing yet'}; {waiting} (told {duration(age_seconds)} ago)",
        model,
    ]


def duration(seconds: float) -> str:
    """Two figures at most: `45 s`, `12 min`, `3.5 h`, `8 days`."""
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 86400:.0f} days"
