"""Which onnxruntime is installed, and which machine this is.

What was optimised or measured holds for this runtime on this machine only.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import platform
from pathlib import Path

from edge.errors import InstallError

# The distributions that bring the module onnxruntime, each with other providers.
_FLAVOURS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-directml",
)
# What tells one kind of processor from another, on x86-64 and on ARM.
_PROCESSOR_FACTS = frozenset({"model name", "flags", "Features", "CPU implementer", "CPU part"})
_NVIDIA_DRIVER = "libcuda.so.1"


def onnxruntime_flavour() -> str:
    """Which distribution is installed; raises InstallError when it is several, or none."""
    flavours = [name for name in _FLAVOURS if _is_installed(name)]
    if len(flavours) > 1:
        raise InstallError(
            f"both {' and '.join(flavours)} are installed and overwrite each other; run "
            f"`pip uninstall -y {' '.join(flavours)}`, then install the one you need again: "
            "`pip install onnxruntime` (any device) or `pip install onnxruntime-gpu` (NVIDIA)"
        )
    if not flavours:
        raise InstallError("onnxruntime is not installed; run `pip install 'fancl[edge]'`")
    return flavours[0]


def runtime() -> str:
    """`onnxruntime 1.24.0`: flavour and version."""
    flavour = onnxruntime_flavour()
    return f"{flavour} {importlib.metadata.version(flavour)}"


@functools.cache
def machine() -> str:
    """The kinds of processor with their features, and the NVIDIA cards with their driver."""
    facts = {platform.machine()}
    processors = _text(Path("/proc/cpuinfo"))
    facts |= {
        line for line in processors.splitlines() if line.split("\t")[0].strip() in _PROCESSOR_FACTS
    }
    if not processors:
        facts.add(platform.processor())
    cards = Path("/proc/driver/nvidia")
    facts |= {
        line
        for file in (cards / "version", *sorted(cards.glob("gpus/*/information")))
        for line in _text(file).splitlines()
        if line.startswith(("NVRM", "Model"))
    }
    return "\n".join(sorted(facts))


def has_nvidia_driver() -> bool:
    """Without it nothing of NVIDIA's can run, whatever onnxruntime was built with."""
    try:
        ctypes.CDLL(_NVIDIA_DRIVER)
    except OSError:
        return False
    return True


def _text(path: Path) -> str:
    """Nothing where the system has no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
