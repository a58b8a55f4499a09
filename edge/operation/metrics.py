"""The snapshot as Prometheus text (exposition format 0.0.4).

Labels have fixed words, but for the names of at most 64 cameras. Written here because
prometheus_client would take over only the escaping: it costs 4 MB and 55 ms at start (measured on
x86-64), and the names and their meaning would stand here all the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from edge.operation.health import Snapshot, Timing
from edge.text import printable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MAX_LABEL = 200  # characters
_STATES = ("ok", "degraded", "failed")


def metrics_text(snapshot: Snapshot) -> str:
    lines: list[str] = []
    for name, kind, meaning, samples in _families(snapshot):
        full = f"edgewatch_{name}"
        present = [
            (suffix, labels, value) for suffix, labels, value in samples if value is not None
        ]
        if present:
            lines += [f"# HELP {full} {meaning}", f"# TYPE {full} {kind}"]
            lines += [
                f"{full}{s}{_labels(labels)} {_number(value)}" for s, labels, value in present
            ]
    return "\n".join(lines) + "\n"


_Value = float | int | bool | None
_Sample = tuple[str, Mapping[str, str], _Value]  # suffix of the name, labels, value
_Family = tuple[str, str, str, list[_Sample]]


def _families(snapshot: Snapshot) -> Iterator[_Family]:
    yield from _state_families(snapshot)
    yield from _work_families(snapshot)
    yield from _gauge_families(snapshot)


def _state_families(snapshot: Snapshot) -> Iterator[_Family]:
    states = {one: snapshot.state == one for one in _STATES}
    reasons: dict[str, int] = {one.kind: 1 for one in snapshot.reasons}
    yield "state", "gauge", "1 at the state the service is in.", _by("state", states)
    yield "reason", "gauge", "1 for each reason it is not well.", _by("reason", reasons)
    yield "ready", "gauge", "1 when pictures can be taken in.", _one(snapshot.is_ready)
    yield "uptime_seconds", "gauge", "Since this start.", _one(snapshot.uptime_seconds)
    yield "idle_seconds", "gauge", "Since the last progress.", _one(snapshot.idle_seconds)


def _work_families(snapshot: Snapshot) -> Iterator[_Family]:
    cameras: Counter[str] = Counter()  # names that look alike once printable are one series
    for name, num_frames in snapshot.camera_frames.items():
        cameras[printable(name)[:_MAX_LABEL]] += num_frames
    others = snapshot.num_other_camera_frames
    yield (
        "frames_total",
        "counter",
        "Files by what became of them.",
        _by("outcome", snapshot.frames),
    )
    yield (
        "quarantined_total",
        "counter",
        "Files that cannot be used, by reason.",
        _by("reason", snapshot.quarantined),
    )
    yield "camera_frames_total", "counter", "Frames by camera.", _by("camera", cameras)
    yield "other_camera_frames_total", "counter", "Frames of cameras beyond 64.", _one(others)
    yield "queue_depth", "gauge", "Files waiting.", _one(snapshot.queue_depth)
    yield (
        "oldest_pending_seconds",
        "gauge",
        "How long the first of them waits.",
        _one(snapshot.oldest_pending_seconds),
    )
    yield (
        "decode_seconds",
        "summary",
        "Time a batch waits for pixels and embeddings.",
        _timing(snapshot.decode),
    )
    yield "detect_seconds", "summary", "Time to find animals in a batch.", _timing(snapshot.detect)
    yield (
        "embed_seconds",
        "summary",
        "Time to embed a medium's crops.",
        _timing(snapshot.embed),
    )


def _gauge_families(snapshot: Snapshot) -> Iterator[_Family]:
    gauges = snapshot.gauges
    named = {"sha": gauges.encoder_id or "", "version": printable(gauges.model_name or "")}
    model: list[_Sample] = [("", named, 1)] if gauges.encoder_id else []
    yield "disk_free_bytes", "gauge", "Where the state is.", _one(gauges.disk_free_bytes)
    yield "db_integrity_ok", "gauge", "1 when last found intact.", _one(gauges.is_database_intact)
    yield "model_info", "gauge", "The encoder in use.", model
    yield (
        "clock_trusted",
        "gauge",
        "1 when the clock can be believed.",
        _one(gauges.is_clock_trusted),
    )
    yield (
        "restarts_total",
        "counter",
        "Restarts since the system started.",
        _one(gauges.num_restarts),
    )
    yield "temperature_celsius", "gauge", "Of the processor.", _one(gauges.temperature_celsius)


def _one(value: _Value) -> list[_Sample]:
    return [("", {}, value)]


def _by(label: str, values: Mapping[str, int] | Mapping[str, bool]) -> list[_Sample]:
    return [("", {label: word}, value) for word, value in values.items()]


def _timing(timing: Timing) -> list[_Sample]:
    return [("_sum", {}, timing.total_seconds), ("_count", {}, timing.num)]


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
