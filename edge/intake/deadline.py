"""Calls into a disk that may never answer: a network share that hangs, a card that died."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Deadline:
    """Runs one call at a time in a thread of its own and stops waiting after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stuck: threading.Thread | None = None

    def call(self, function: Callable[[], Answer]) -> Answer:
        """What the function returns or raises; TimeoutError while it or an earlier one hangs.

        A thread that hangs in the kernel cannot be ended. It is left behind, and nothing else is
        begun before it comes back.
        """
        if self._stuck is not None and self._stuck.is_alive():
            raise TimeoutError
        box: dict[str, Any] = {}

        def run() -> None:
            try:
                box["answer"] = function()
            except BaseException as error:
                box["error"] = error

        self._stuck = threading.Thread(target=run, daemon=True, name="inbox")
        self._stuck.start()
        self._stuck.join(self._seconds)
        if not box:
            raise TimeoutError
        self._stuck = None
        if "error" in box:
            raise box["error"]
        answer: Answer = box["answer"]
        return answer
