"""Which provider computes an encoder here: the one asked for, else the fastest that is right.

What `auto` found is remembered for a model, a runtime and a machine; derived data, so a file that
is missing or damaged means measuring again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.compute import runtime
from edge.compute.optimised import is_own
from edge.compute.providers import Choice, in_words

_NUM_ROUNDS = 5
_MAX_SECONDS = 2.0  # of measuring, after which no new round begins
_NUM_REMEMBERED = 8
_NAME = "providers.json"


class Contestant(Protocol):
    def embed(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, kw_only=True)
class _Memory:
    provider: str
    why: str


def fastest(
    contestants: Mapping[str, Contestant],
    left_out: Mapping[str, str],
    images_NHWC: NDArray[np.uint8],
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """The provider that embeds these crops soonest, by the median of interleaved rounds.

    Contestants give the right embeddings and have computed once; `left_out` says why others do
    not take part. `clock` gives seconds.
    """
    seconds: dict[str, list[float]] = {one: [] for one in contestants}
    began = clock()
    for _ in range(_NUM_ROUNDS):
        for name, contestant in contestants.items():
            start = clock()
            contestant.embed(images_NHWC)
            seconds[name].append(clock() - start)
        if clock() - began > _MAX_SECONDS:
            break
    rates = {
        name: len(images_NHWC) / max(float(np.median(taken)), 1e-9)
        for name, taken in seconds.items()
    }
    best = max(rates, key=lambda name: rates[name])
    return Choice(provider=best, why=_why(best, rates, left_out))


def _why(best: str, rates: Mapping[str, float], left_out: Mapping[str, str]) -> str:
    others = [f"{in_words(one)} {rate:.3g}" for one, rate in rates.items() if one != best]
    said = f"the fastest here at {rates[best]:.3g} crops a second"
    if others:
        said += f" ({', '.join(others)})"
    said += "".join(f"; {in_words(one)} is left out: {reason}" for one, reason in left_out.items())
    return said


def recall(folder: Path, seal: str, candidates: list[str]) -> Choice | None:
    """What was found for the model of that seal on this machine; None where nothing was."""
    found = _read(folder).get(_key(seal, candidates))
    if found is None or found.provider not in candidates:
        return None
    return Choice(provider=found.provider, why=f"{found.why}; measured earlier")


def remember(folder: Path, seal: str, candidates: list[str], choice: Choice) -> None:
    """Raises OSError where it cannot be written."""
    key = _key(seal, candidates)
    others = {one: memory for one, memory in _read(folder).items() if one != key}
    newest = dict(list(others.items())[-(_NUM_REMEMBERED - 1) :])
    newest[key] = _Memory(provider=choice.provider, why=choice.why)
    _write(folder, newest)


def forget(folder: Path, seal: str, candidates: list[str]) -> None:
    """So that the next start measures again."""
    key = _key(seal, candidates)
    known = _read(folder)
    if known.pop(key, None) is not None:
        _write(folder, known)


def _key(seal: str, candidates: list[str]) -> str:
    parts = (seal, runtime.runtime(), runtime.machine(), *candidates)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _read(folder: Path) -> dict[str, _Memory]:
    try:
        if not is_own(folder):
            return {}
        content = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        return {str(key): _Memory(**one) for key, one in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(folder: Path, memories: Mapping[str, _Memory]) -> None:
    text = json.dumps({key: dataclasses.asdict(one) for key, one in memories.items()}, indent=1)
    temporary = folder / f"{_NAME}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / _NAME)
