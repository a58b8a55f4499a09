"""What onnxruntime can compute on here: its providers, by its own words and by ours.

`cpu`, `cuda` and `coreml` stand for CPUExecutionProvider and so on; `auto` is the fastest of them
that computes the same. Does not cover how they are tried (edge/compute/choice.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.compute import runtime
from edge.compute.session import CPU
from edge.errors import ConfigError
from edge.text import printable

AUTO = "auto"
_ENDING = "ExecutionProvider"
_ELSEWHERE = frozenset({"AzureExecutionProvider"})  # sends pictures away: nothing here may
_OF_NVIDIA = frozenset({"CUDAExecutionProvider"})
# They compile a graph for minutes before the first picture: only for those who ask.
_SLOW_TO_START = frozenset({"TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"})


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What an encoder is computed on."""

    provider: str  # onnxruntime's word
    why: str
    trouble: str | None = None  # what was asked for or remembered, and does not work

    def __str__(self) -> str:
        return f"on {in_words(self.provider)}, {self.why}"


ON_CPU = Choice(provider=CPU, why="as asked for")


def in_words(provider: str) -> str:
    """`cuda` for CUDAExecutionProvider."""
    return provider.removesuffix(_ENDING).lower()


def offered() -> list[str]:
    """What onnxruntime lists here, best first as it thinks, less what computes elsewhere."""
    runtime.onnxruntime_flavour()
    import onnxruntime  # here, so that a command that opens no model does not wait for it

    return [one for one in onnxruntime.get_available_providers() if one not in _ELSEWHERE]


def named(wanted: str) -> str:
    """onnxruntime's word for a name; raises ConfigError, with those present, for any other."""
    if wanted.lower() == in_words(CPU):
        return CPU
    present = offered()
    for one in present:
        if wanted.lower() in (one.lower(), in_words(one)):
            return one
    words = ", ".join(in_words(one) for one in present)
    raise ConfigError(
        f"there is no provider {printable(wanted)[:40]!r} here: {runtime.runtime()} offers "
        f"{words}; name one of these, or auto for the fastest of them"
    )


def candidates() -> list[str]:
    """What `auto` tries; the CPU is always the last."""
    present = [one for one in offered() if one not in _SLOW_TO_START and one != CPU]
    if _OF_NVIDIA & set(present) and not runtime.has_nvidia_driver():
        present = [one for one in present if one not in _OF_NVIDIA]
    return [*present, CPU]
