"""How the service is: its state with reasons, its counters, as one frozen snapshot.

The pipeline tells it what happens; the endpoints, the metrics and STATE/health.json read it. Does
not cover how the file is written and read (edge/operation/health_file.py).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal, get_args

from edge.errors import MediaReason
from edge.text import printable

State = Literal["ok", "degraded", "failed"]
Severity = Literal["degraded", "failed"]
ReasonKind = Literal[
    "disk-full",  # nothing can be recorded until there is space
    "read-only",  # the state folder cannot be written
    "io",  # the disk gives errors
    "database",  # damaged, or not to be opened
    "model",  # absent, damaged, or for another gallery
    "provider",  # what was to compute the model does not; the CPU does
    "inbox",  # not there, not mounted, not readable
    "memory",
    "clock",  # not to be trusted
    "queue",  # files come faster than they are done
    "decoders",  # their processes die again and again
    "endpoints",  # health and metrics cannot be served
    "health-file",  # STATE/health.json cannot be written
    "other",
]
Step = Literal["decode", "detect", "embed"]
OUTCOMES = ("animal", "blank", "human", "vehicle", "unclassified", "quarantined", "copies")
MAX_CAMERAS = 64  # names in the metrics; the frames of further ones are counted together


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why the service is not well."""

    kind: ReasonKind
    severity: Severity
    message: str  # a sentence
    advice: str  # what to do
    since: str  # UTC, as the system's clock had it
    since_monotonic: float  # seconds


@dataclass(frozen=True, kw_only=True)
class Timing:
    num: int = 0
    total_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What is measured now and then; None: not known."""

    disk_free_bytes: int | None = None
    temperature_celsius: float | None = None
    is_clock_trusted: bool | None = None
    is_database_intact: bool | None = None
    model_name: str | None = None
    encoder_id: str | None = None
    provider: str | None = None  # what computes the model
    num_restarts: int = 0  # of the service since the system started


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    state: State
    reasons: tuple[Reason, ...]
    is_ready: bool  # model loaded, database writable, not stopping
    is_stopping: bool
    uptime_seconds: float
    idle_seconds: float  # since the last progress or proven idleness
    frames: Mapping[str, int]  # by OUTCOMES
    quarantined: Mapping[str, int]  # by MediaReason
    camera_frames: Mapping[str, int]  # of at most MAX_CAMERAS deployments
    num_other_camera_frames: int
    queue_depth: int
    oldest_pending_seconds: float
    decode: Timing
    detect: Timing
    embed: Timing
    gauges: Gauges


class Health:
    """Told by the pipeline, read by any thread."""

    def __init__(
        self,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """`clock` gives monotonic seconds."""
        self._lock = threading.RLock()  # a signal may come while the same thread holds it
        self._clock = clock
        self._now = now
        self._started = self._last_progress = clock()
        self._is_ready = self._is_stopping = False
        self._reasons: dict[ReasonKind, Reason] = {}
        self._frames = Counter(dict.fromkeys(OUTCOMES, 0))
        self._quarantined = Counter(dict.fromkeys(get_args(MediaReason), 0))
        self._cameras: Counter[str] = Counter()
        self._num_other_camera_frames = 0
        self._queue_depth = 0
        self._oldest_since: float | None = None
        self._timings = {step: Timing() for step in get_args(Step)}
        self._gauges = Gauges()

    def progress(self) -> None:
        """Something was done, or there is provably nothing to do."""
        with self._lock:
            self._last_progress = self._clock()

    def ready(self) -> None:
        """The model is loaded and the database can be written."""
        with self._lock:
            self._is_ready = True

    def stopping(self) -> None:
        with self._lock:
            self._is_stopping = True

    def degrade(self, kind: ReasonKind, message: str, advice: str) -> None:
        """Less than the whole service, for this reason, until `clear`."""
        self._add(kind, "degraded", message, advice)

    def fail(self, kind: ReasonKind, message: str, advice: str) -> None:
        """No service, for this reason, until `clear`."""
        self._add(kind, "failed", message, advice)

    def clear(self, kind: ReasonKind) -> None:
        with self._lock:
            self._reasons.pop(kind, None)

    def _add(self, kind: ReasonKind, severity: Severity, message: str, advice: str) -> None:
        assert kind in get_args(ReasonKind), kind
        with self._lock:
            known = self._reasons.get(kind)
            self._reasons[kind] = Reason(
                kind=kind,
                severity=severity,
                message=message,
                advice=advice,
                since=known.since if known else self._now().isoformat(timespec="seconds"),
                since_monotonic=known.since_monotonic if known else self._clock(),
            )

    def count(self, outcomes: Mapping[str, int]) -> None:
        """Adds the counts of a batch; keys that are no outcome are left to others."""
        with self._lock:
            for outcome in OUTCOMES:
                self._frames[outcome] += outcomes.get(outcome, 0)

    def count_quarantined(self, reason: MediaReason, number: int = 1) -> None:
        """By reason; the outcome `quarantined` is counted by `count`."""
        assert reason in self._quarantined, reason
        with self._lock:
            self._quarantined[reason] += number

    def count_camera(self, deployment_id: str, num_frames: int) -> None:
        with self._lock:
            if deployment_id in self._cameras or len(self._cameras) < MAX_CAMERAS:
                self._cameras[deployment_id] += num_frames
            else:
                self._num_other_camera_frames += num_frames

    def queue(self, depth: int, oldest_seconds: float) -> None:
        """How many files wait, and for how long the first of them has."""
        with self._lock:
            self._queue_depth = depth
            self._oldest_since = self._clock() - oldest_seconds if depth else None

    @contextmanager
    def timed(self, step: Step) -> Iterator[None]:
        began = self._clock()
        yield
        self.time(step, self._clock() - began)

    def time(self, step: Step, seconds: float) -> None:
        with self._lock:
            before = self._timings[step]
            self._timings[step] = Timing(
                num=before.num + 1, total_seconds=before.total_seconds + seconds
            )

    def measured(self, **gauges: Any) -> None:
        """Sets fields of Gauges by name; the others stay."""
        with self._lock:
            self._gauges = replace(self._gauges, **gauges)

    def snapshot(self) -> Snapshot:
        with self._lock:
            now = self._clock()
            reasons = tuple(self._reasons.values())
            return Snapshot(
                state=_worst(reasons),
                reasons=reasons,
                is_ready=self._is_ready and not self._is_stopping and _worst(reasons) != "failed",
                is_stopping=self._is_stopping,
                uptime_seconds=now - self._started,
                idle_seconds=now - self._last_progress,
                frames=dict(self._frames),
                quarantined=dict(self._quarantined),
                camera_frames=dict(self._cameras),
                num_other_camera_frames=self._num_other_camera_frames,
                queue_depth=self._queue_depth,
                oldest_pending_seconds=0.0
                if self._oldest_since is None
                else now - self._oldest_since,
                decode=self._timings["decode"],
                detect=self._timings["detect"],
                embed=self._timings["embed"],
                gauges=self._gauges,
            )


def as_record(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot for JSON; names of cameras made printable."""
    record = asdict(snapshot)
    record["camera_frames"] = {
        printable(name): number for name, number in snapshot.camera_frames.items()
    }
    return record


def from_record(record: dict[str, Any]) -> Snapshot:
    """The other way; raises ValueError or TypeError where the record is not one of ours."""
    fields = dict(record)
    if fields.get("state") not in get_args(State):
        raise ValueError(f"state {fields.get('state')!r}")
    fields["reasons"] = tuple(Reason(**one) for one in fields.get("reasons", ()))
    for name in get_args(Step):
        fields[name] = Timing(**fields.get(name, {}))
    fields["gauges"] = Gauges(**fields.get("gauges", {}))
    return Snapshot(**fields)


def _worst(reasons: tuple[Reason, ...]) -> State:
    severities = {one.severity for one in reasons}
    if "failed" in severities:
        return "failed"
    return "degraded" if severities else "ok"
