"""What figures were measured on, and how programs are run for them."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_PACKAGES = (
    "fancl", "numpy", "opencv-python-headless", "Pillow", "onnxruntime", "onnxruntime-gpu",
    "faiss-cpu", "apsw", "torch", "timm", "open_clip_torch", "wildlife-tools",
)  # fmt: skip
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class Ran:
    seconds: float
    cpu_seconds: float  # of the program and all its processes
    output: str


def describe() -> dict[str, Any]:
    """The machine, its load and the packages, as JSON has it."""
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _cpu_field("model name") or platform.processor(),
        "features": [
            one
            for one in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")
            if one in (_cpu_field("flags") or _cpu_field("Features") or "").split()
        ],
        "cores": len(os.sched_getaffinity(0)),
        "memory_megabytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load": list(os.getloadavg()),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def adopt_orphans() -> None:
    """Lets `run` count what a program's own servers used: they outlive it for a moment."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(words: Sequence[object], environment: Mapping[str, str] | None = None) -> Ran:
    """A program from its start to its end; leaves with its words where it fails.

    Compiled modules are kept, as they are on any device, also where the caller's shell says no.
    """
    mine = {**os.environ, **(environment or {})}
    mine.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [str(one) for one in words],
        check=False,
        text=True,
        capture_output=True,
        env=mine,
    )
    seconds = time.perf_counter() - began
    _reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        print(f"{words[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        raise SystemExit(1)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(seconds=seconds, cpu_seconds=cpu, output=done.stdout)


def script(name: str) -> Path:
    """A command of this installation."""
    return Path(sys.executable).with_name(name)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over rounds of how many times as fast the second is."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _reap() -> None:
    """Waits for what the program left behind."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.01)


def _cpu_field(name: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == name)
    return next(found, None)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
