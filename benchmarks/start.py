"""How soon, with how much memory, and how idly the device's commands work.

    python benchmarks/start.py --fp32 resnet50.onnx --int8 resnet50-int8.onnx --photos FOLDER \\
        --out benchmarks/results/start

`--photos` holds distinct 12-megapixel JPEGs. Every command is a process of its own; what is
compared is interleaved, medians are told, and beside seconds on the clock those of the processor,
which other programs disturb less. Leaves start.json and prints a table. Linux only: memory is what
/proc says (PSS: shared pages are divided among those who share them).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge import model
from edge.compute import runtime
from edge.detect import Box
from edge.gallery import curate
from edge.gallery.curate import NewExemplar
from edge.gallery.gallery import open_gallery
from edge.identity.fitted import kept_thresholds
from edge.record.state import StateFolder, locked
from edge.record.store import open_store
from edge.record.store_log import editing

NUM_EXEMPLARS, PER_ANIMAL = 10_000, 10
_SAMPLE_SECONDS = 0.05
_BIN = Path(sys.executable).parent
_WHOLE = Box(x=0.0, y=0.0, width=1.0, height=1.0, relative=True)
# The device's own way to an encoder, then one crop; the clock is the same in all processes.
_FIRST_EMBEDDING = """
import sys, time
from pathlib import Path
from edge.commands.loading import loading
with loading():
    import numpy as np
    from edge.compute.opening import Place, open_here
cache = Path(sys.argv[2]) if sys.argv[2] else None
encoder = open_here(Path(sys.argv[1]), Place(provider="cpu", num_threads=1, cache=cache))
spec = encoder.manifest.input
crop = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
encoder.embed_crops([crop])
done = time.monotonic()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak, now = (int(status[key].split()[0]) / 1024 for key in ("VmHWM", "VmRSS"))
print(done, time.process_time(), peak, now)
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """From the start of a process to what it was started for."""

    seconds: float
    cpu_seconds: float
    peak_mb: float | None  # resident
    resident_mb: float | None  # once it is done


def main(
    fp32: Annotated[Path, typer.Option(help="A ResNet-50 model file.")],
    int8: Annotated[Path, typer.Option(help="The same in 8 bits.")],
    photos: Annotated[Path, typer.Option(help="Folder of distinct 12-megapixel JPEGs.")],
    out: Annotated[Path, typer.Option(help="Folder for start.json.")],
    rounds: Annotated[int, typer.Option(help="Of what is timed.")] = 7,
    idle_seconds: Annotated[float, typer.Option(help="For which an idle watch is observed.")] = 30,
) -> None:
    """Measure, write, print."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        environment = _environment(work)
        result: dict[str, Any] = {
            "machine": _machine(),
            "version": _version(rounds, environment),
            "first_embedding": _first_embedding(fp32, rounds, work, environment),
            "idle": _idle(int8, idle_seconds, work, environment),
            "memory": _memory(int8, photos, work, environment),
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / "start.json").write_text(json.dumps(result, indent=1) + "\n")
    _print(result)


def _environment(work: Path) -> dict[str, str]:
    """As on a device: modules are compiled once, not at each start, and decisions take a thread."""
    mine = dict(os.environ)
    mine.pop("PYTHONDONTWRITEBYTECODE", None)
    return mine | {"PYTHONPYCACHEPREFIX": str(work / "compiled"), "OPENBLAS_NUM_THREADS": "1"}


def _machine() -> dict[str, str]:
    facts = runtime.machine().splitlines()
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    return {
        "processor": ", ".join(names) or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": " ".join(f"{one:.1f}" for one in os.getloadavg()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "onnxruntime": runtime.runtime(),
    }


def _interleaved(runs: Mapping[str, Callable[[], Start]], rounds: int) -> dict[str, Any]:
    """Medians of each, A, B, A, B ...; a first round does not count."""
    found: dict[str, list[Start]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            one = run()
            if number:
                found[name].append(one)
    return {name: _summary(starts) for name, starts in found.items()}


def _summary(starts: list[Start]) -> dict[str, float]:
    seconds = [one.seconds for one in starts]
    summary = {
        "seconds": statistics.median(seconds),
        "fastest_seconds": min(seconds),
        "cpu_seconds": statistics.median(one.cpu_seconds for one in starts),
        "rounds": len(starts),
    }
    for key in ("peak_mb", "resident_mb"):
        values = [getattr(one, key) for one in starts if getattr(one, key) is not None]
        if values:
            summary[key] = statistics.median(values)
    return summary


def _version(rounds: int, environment: dict[str, str]) -> dict[str, Any]:
    runs = {
        name: lambda words=words: _timed(words, environment)
        for name, words in {
            "edge-watch --version": [str(_BIN / "edge-watch"), "--version"],
            "edge-admin --version": [str(_BIN / "edge-admin"), "--version"],
            "python -c pass": [sys.executable, "-c", "pass"],
        }.items()
    }
    return _interleaved(runs, rounds)


def _timed(words: list[str], environment: dict[str, str]) -> Start:
    before, began = os.times(), time.monotonic()
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - began, os.times()
    cpu = sum(getattr(after, one) - getattr(before, one) for one in _OF_CHILDREN)
    return Start(seconds=seconds, cpu_seconds=cpu, peak_mb=None, resident_mb=None)


_OF_CHILDREN = ("children_user", "children_system")


def _first_embedding(
    fp32: Path, rounds: int, work: Path, environment: dict[str, str]
) -> dict[str, Any]:
    """With the graph kept from an earlier start, and from the model file each time."""
    cache = work / "cache"
    return _interleaved(
        {
            "kept graph": lambda: _embed_once(fp32, str(cache), environment),
            "model file": lambda: _embed_once(fp32, "", environment),
        },
        rounds,
    )


def _embed_once(path: Path, cache: str, environment: dict[str, str]) -> Start:
    words = [sys.executable, "-c", _FIRST_EMBEDDING, str(path), cache]
    began = time.monotonic()
    ran = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    done, cpu, peak, resident = (float(one) for one in ran.stdout.split())
    return Start(seconds=done - began, cpu_seconds=cpu, peak_mb=peak, resident_mb=resident)


def _idle(int8: Path, seconds: float, work: Path, environment: dict[str, str]) -> dict[str, float]:
    """The share of one core that a watch over an empty inbox takes, with all its processes."""
    inbox, state = work / "empty", work / "idle"
    inbox.mkdir()
    words = [str(_BIN / "edge-watch"), str(inbox), "--state", str(state), "--model", str(int8)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_until_ready(state / "health.json")
            time.sleep(5)
            before, began = _cpu_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - began
            used = _cpu_seconds(process.pid) - before
        finally:
            process.send_signal(signal.SIGTERM)
    return {"percent_of_a_core": 100 * used / took, "seconds": took}


def _wait_until_ready(health: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if health.exists() and '"is_ready": true' in health.read_text():
            return
        time.sleep(0.1)
    raise SystemExit("edge-watch did not become ready within a minute")


def _tree(root: int) -> Iterator[int]:
    """A process and all below it that are alive."""
    yield root
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def _cpu_seconds(root: int) -> float:
    ticks = 0
    for pid in _tree(root):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss_mb(root: int) -> dict[str, float]:
    """By kind, of a process and all below it; those that end meanwhile count no more."""
    total = {"Pss": 0.0, "Pss_Anon": 0.0, "Pss_File": 0.0, "main": 0.0, "processes": 0.0}
    for pid in _tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total["processes"] += 1
        for line in lines[1:]:
            key, _, value = line.partition(":")
            if key in total:
                total[key] += int(value.split()[0]) / 1024
            if key == "Pss" and pid == root:
                total["main"] = int(value.split()[0]) / 1024
    return total


def _memory(int8: Path, photos: Path, work: Path, environment: dict[str, str]) -> dict[str, float]:
    """The highest PSS of all processes of `edge-watch --once`, 10,000 exemplars in its gallery.

    Over the whole run, and from the first decoder on.
    """
    state, inbox = work / "full", work / "inbox"
    _fill(StateFolder(root=state), model.read_manifest(int8.read_bytes()))
    shutil.copytree(photos, inbox / "camera")
    num_photos = sum(one.is_file() for one in inbox.rglob("*"))
    words = [str(_BIN / "edge-watch"), str(inbox), "--once", "--state", str(state)]
    words += ["--model", str(int8)]
    peak: dict[str, float] = {"Pss": 0.0}
    working = 0.0
    began = time.monotonic()
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            now = _pss_mb(process.pid)
            peak = max(peak, now, key=lambda one: one["Pss"])
            if now["processes"] > 1:
                working = max(working, now["Pss"])
            time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise typer.Exit(process.returncode)
    return {
        "peak_pss_mb": peak["Pss"],
        "of_it_main_process_mb": peak["main"],
        "of_it_anonymous_mb": peak["Pss_Anon"],
        "of_it_files_mb": peak["Pss_File"],
        "peak_with_decoders_mb": working,
        "photos": num_photos,
        "exemplars": NUM_EXEMPLARS,
        "seconds": time.monotonic() - began,
    }


def _fill(folder: StateFolder, manifest: model.Manifest) -> None:
    """A gallery as enrolling leaves it, of animals that nobody drew: random embeddings."""
    rng = np.random.default_rng(0)
    with locked(folder):
        store = open_store(folder.database)
        with store.transaction(), editing(store, "benchmark") as editor:
            for animal in range(NUM_EXEMPLARS // PER_ANIMAL):
                emb_ND = rng.standard_normal((PER_ANIMAL, manifest.embedding_dim))
                emb_ND /= np.linalg.norm(emb_ND, axis=1, keepdims=True)
                exemplars = [
                    _exemplar(f"{animal} {number}", emb_D, manifest.encoder_id)
                    for number, emb_D in enumerate(emb_ND)
                ]
                curate.enrol(editor, None, f"animal {animal}", False, exemplars)
        kept_thresholds(store, open_gallery(store, manifest), manifest)
        store.close()


def _exemplar(name: str, emb_D: np.ndarray, encoder_id: str) -> NewExemplar:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return NewExemplar(
        sha256=sha256,
        display=name,
        box=_WHOLE,
        flank="unknown",
        encounter=None,
        captured_at=None,
        crop=sha256,
        observation_id=None,
        embedding=emb_D.astype(np.float16),
        encoder_id=encoder_id,
    )


def _print(result: dict[str, Any]) -> None:
    print(", ".join(f"{key} {value}" for key, value in result["machine"].items()))
    print("| what | s | fastest | CPU s | peak MB | MB then |")
    print("|---|---|---|---|---|---|")
    for part in ("version", "first_embedding"):
        for name, one in result[part].items():
            cells = [f"{one[key]:.3f}" for key in ("seconds", "fastest_seconds", "cpu_seconds")]
            cells += [f"{one[key]:.0f}" if key in one else "" for key in ("peak_mb", "resident_mb")]
            print(f"| {part.replace('_', ' ')}: {name} | {' | '.join(cells)} |")
    print(f"idle: {result['idle']['percent_of_a_core']:.2f} % of a core")
    memory = result["memory"]
    print(
        f"memory: at most {memory['peak_pss_mb']:.0f} MB (PSS of all processes; "
        f"{memory['of_it_main_process_mb']:.0f} MB of it the main one's), "
        f"{memory['peak_with_decoders_mb']:.0f} MB while decoding, over "
        f"{memory['photos']} photos with {memory['exemplars']:,} exemplars"
    )


if __name__ == "__main__":
    typer.run(main)
