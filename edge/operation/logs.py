"""What the service says: a line an event, as text for people or JSON for programs.

`log(message)` is what a person asked to be told and is always written; `info`, `warn` and `error`
take a fixed word for their kind, and a flood of one kind is summed up once a minute.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal, TextIO

from edge.config import LogFormat
from edge.text import printable

Level = Literal["info", "warning", "error"]
FieldValue = str | int | float | bool | None
_MAX_CHARACTERS = 4000  # of a message; journald cuts a line at 48 KiB
_WINDOW_SECONDS = 60.0
_MAX_LINES_A_WINDOW = 10  # of one kind
_MAX_KINDS = 256  # kinds are words in our code; this bounds a mistake


@dataclass
class _Kind:
    """What was said of one kind in the window at hand."""

    level: Level
    since: float
    num_written: int = 0
    num_left_out: int = 0


class Log:
    """May stand wherever a `Tell` is wanted."""

    def __init__(
        self,
        form: LogFormat,
        clock: Callable[[], float],
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        """`clock` gives monotonic seconds; `out` and `err` are the process's own by default."""
        self.num_lost = 0  # lines that could not be written since the last that could
        self._form = form
        self._clock = clock
        self._out = out
        self._err = err
        self._kinds: dict[str, _Kind] = {}
        self._lock = threading.RLock()  # the endpoints warn from threads of their own

    def __call__(self, message: str, event: str = "told", **fields: FieldValue) -> None:
        self._write("info", event, message, fields)

    def info(self, kind: str, message: str, **fields: FieldValue) -> None:
        self._limited("info", kind, message, fields)

    def warn(self, kind: str, message: str, **fields: FieldValue) -> None:
        self._limited("warning", kind, message, fields)

    def error(self, kind: str, message: str, **fields: FieldValue) -> None:
        self._limited("error", kind, message, fields)

    def flush(self) -> None:
        """Sums up the kinds whose minute is over; to be called now and then."""
        self._sum_up(_WINDOW_SECONDS)

    def close(self) -> None:
        """Sums up every kind."""
        self._sum_up(0.0)

    def _sum_up(self, min_age_seconds: float) -> None:
        with self._lock:
            now = self._clock()
            for kind, said in list(self._kinds.items()):
                if now - said.since >= min_age_seconds:
                    self._end_window(kind, said)

    def _limited(
        self, level: Level, kind: str, message: str, fields: dict[str, FieldValue]
    ) -> None:
        with self._lock:
            self.flush()
            if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
                kind = "other"
            said = self._kinds.setdefault(kind, _Kind(level=level, since=self._clock()))
            if said.num_written >= _MAX_LINES_A_WINDOW:
                said.num_left_out += 1
                return
            said.num_written += 1
            self._write(level, kind, message, fields)

    def _end_window(self, kind: str, said: _Kind) -> None:
        del self._kinds[kind]
        if said.num_left_out:
            message = f"and {said.num_left_out:,} more like it in the last minute"
            self._write(said.level, kind, message, {"left_out": said.num_left_out})

    def _write(self, level: Level, kind: str, message: str, fields: dict[str, FieldValue]) -> None:
        said = _shortened(printable(message))
        if self._form is LogFormat.json:
            line = _json_line(level, kind, said, fields)
        else:
            line = said if level == "info" else f"{level}: {said}"
        to_err = level != "info" and self._form is LogFormat.text
        stream = (self._err or sys.stderr) if to_err else (self._out or sys.stdout)
        try:
            stream.write(line + "\n")
            stream.flush()
        except OSError:  # a full disk or a reader that left must not stop the work
            self.num_lost += 1
            return
        self._tell_lost()

    def _tell_lost(self) -> None:
        if self.num_lost:
            num_lost, self.num_lost = self.num_lost, 0
            message = f"the log could not be written for a while; {num_lost:,} lines are missing"
            self._write("warning", "log", message, {"lost": num_lost})


def _json_line(level: Level, kind: str, message: str, fields: dict[str, FieldValue]) -> str:
    record = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "level": level,
        "event": kind,
        "message": message,
    }
    extra = {name: _plain(value) for name, value in fields.items() if name not in record}
    return json.dumps({**record, **extra})


def _plain(value: FieldValue) -> FieldValue:
    """A value that every JSON reader takes: no lone surrogates, no NaN."""
    if isinstance(value, str):
        return _shortened(printable(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + " ..."
