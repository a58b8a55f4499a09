"""What `edge-admin doctor` finds: one sentence a check, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.config import Settings
from edge.record.state import StateFolder

Level = Literal["ok", "advice", "problem"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    check: str  # a fixed word
    level: Level
    message: str
    advice: str = ""  # empty where all is well


@dataclass(frozen=True, kw_only=True)
class Examined:
    """The device as far as the doctor knows it."""

    folder: StateFolder
    settings: Settings
    inbox: Path | None  # None: nobody has said where it is
    clock: Callable[[], float]  # monotonic seconds


def ok(check: str, message: str) -> Finding:
    return Finding(check=check, level="ok", message=message)


def advise(check: str, message: str, advice: str) -> Finding:
    return Finding(check=check, level="advice", message=message, advice=advice)


def problem(check: str, message: str, advice: str) -> Finding:
    return Finding(check=check, level="problem", message=message, advice=advice)


def unchecked(check: str, why: str, advice: str) -> Finding:
    """Counts as advice: nobody may take it for a good sign."""
    return advise(check, f"could not be checked: {why}", advice)
