"""onnxruntime sessions: how a graph is opened, on which provider, and what a failure says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import ModelError
from edge.text import printable

CPU = "CPUExecutionProvider"
WEIGHTS_NAME = "weights.bin"  # beside a saved graph
# What is saved depends on these; a new value makes every saved graph stale.
SETTINGS = {"session.intra_op.allow_spinning": "0"}  # spinning threads take time from decoders
_SMALL_BYTES = "1024"  # weights so small stay inside the graph


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a graph is opened."""

    provider: str = CPU  # onnxruntime's own word
    num_threads: int | None = None  # for one call; None: as many as onnxruntime likes
    is_optimised: bool = False  # by `save_optimised`, on this machine
    save_optimised: Path | None = None  # where the graph is written as it is after optimising


def open_session(source: bytes | Path, opening: Opening) -> Any:
    """An onnxruntime.InferenceSession of a graph; raises ModelError where it cannot be.

    Also where onnxruntime would go on without the provider, which it does by itself, silently.
    """
    import onnxruntime  # here, so that `--help` and both-flavours errors come before it loads

    providers = [opening.provider] if opening.provider == CPU else [opening.provider, CPU]
    try:
        session = onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            _options(onnxruntime, opening),
            providers=providers,
            enable_fallback=0,
        )
    except Exception as error:  # onnxruntime raises classes of its own, with no common base
        raise ModelError(
            f"onnxruntime cannot load the model ({first_line(error)}); export it again"
        ) from error
    session.disable_fallback()
    if session.get_providers()[0] != opening.provider:
        raise ModelError(
            f"onnxruntime cannot start {opening.provider} here; see what it wrote before this"
        )
    return session


def _options(onnxruntime: Any, opening: Opening) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in SETTINGS.items():
        options.add_session_config_entry(key, value)
    if opening.num_threads is not None:
        options.intra_op_num_threads = opening.num_threads
    if opening.is_optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if opening.save_optimised is not None:
        options.optimized_model_filepath = str(opening.save_optimised)
        weights = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{weights}file_name", WEIGHTS_NAME)
        options.add_session_config_entry(f"{weights}min_size_in_bytes", _SMALL_BYTES)
    return options


def first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])[:300]
