"""A session at work: batches in, embeddings out, and the CPU where another provider fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.compute.providers import Choice, in_words
from edge.compute.session import CPU, first_line
from edge.errors import ModelError
from edge.model import INPUT_NAME, OUTPUT_NAME

OpenOn = Callable[[str], Any]  # a session on a provider; raises ModelError


class Engine:
    """May be used by several threads at a time."""

    def __init__(self, choice: Choice, open_on: OpenOn) -> None:
        """Raises ModelError where the graph does not open on the provider of the choice."""
        self.choice = choice
        self._session = open_on(choice.provider)
        self._open_on = None if choice.provider == CPU else open_on  # it holds the model's bytes
        self._lock = threading.Lock()
        self._tell: Callable[[str], None] | None = None

    def tell_of_fallback(self, tell: Callable[[str], None]) -> None:
        """`tell` is called, from any thread, when a provider fails and the CPU takes over."""
        self._tell = tell

    def run(
        self, images_NHWC: NDArray[np.uint8], require: Callable[[NDArray[Any]], None]
    ) -> NDArray[Any]:
        """What the graph gives; `require` raises ModelError for what cannot be an embedding."""
        session = self._session
        try:
            return _run(session, images_NHWC, require)
        except ModelError as error:
            if not self._leave(session, error):
                raise
        return _run(self._session, images_NHWC, require)

    def _leave(self, session: Any, error: ModelError) -> bool:
        """True when there is now another session to try."""
        with self._lock:
            if session is not self._session:
                return True  # another thread was first
            if self._open_on is None:
                return False
            failed = in_words(self.choice.provider)
            trouble = (
                f"{failed} failed while embedding ({error}); the CPU goes on in its place, which "
                "may be much slower"
            )
            self._session = self._open_on(CPU)
            self._open_on = None
            self.choice = Choice(provider=CPU, why=f"{failed} failed", trouble=trouble)
        if self._tell is not None:
            self._tell(trouble)
        return True


def _run(
    session: Any, images_NHWC: NDArray[np.uint8], require: Callable[[NDArray[Any]], None]
) -> NDArray[Any]:
    try:
        (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: images_NHWC})
    except Exception as error:  # onnxruntime raises classes of its own, with no common base
        raise ModelError(
            f"onnxruntime cannot run the model ({first_line(error)}); export it again"
        ) from error
    emb_ND = np.asarray(found)
    require(emb_ND)
    return emb_ND
