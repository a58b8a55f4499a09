"""Who is told what goes on: the command line shows it, tests collect it."""

from __future__ import annotations

from typing import Protocol


class Narrator(Protocol):
    def say(self, sentence: str) -> None: ...
    def progress(self, what: str, done: int, total: int, note: str = "") -> None: ...
