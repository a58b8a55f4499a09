"""The doctor's look at the program: packages, settings, model, database, service."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import time

import apsw

from edge.compute.opening import Place, open_here
from edge.compute.providers import in_words
from edge.compute.runtime import onnxruntime_flavour
from edge.doctor.finding import Examined, Finding, advise, ok, problem, unchecked
from edge.errors import ConfigError, InstallError, ModelError, StateError
from edge.model_file import speed
from edge.operation.health_file import judge
from edge.record import store_copy, store_report
from edge.record.store import SCHEMA_VERSION, open_reader
from edge.text import counted, printable

_SQLITE_FLOOR = (3, 51, 3)
_FLOORS = {
    "numpy": ((1, 26), "the release this one was tried with"),
    "opencv-python-headless": ((4, 12), "older ones have a hole (CVE-2025-53644)"),
    "faiss-cpu": ((1, 9), "the release this one was tried with"),
}
_ONNXRUNTIME_FLOOR = (1, 24)
_SLOW_CROPS_PER_SECOND = 1.0
_UPDATE = "install the newest release of fancl with its wheels (deploy/README.md, section 1)"


def check_python(examined: Examined) -> Finding:
    found = f"Python {platform.python_version()}, {platform.machine()}"
    if sys.maxsize < 2**32:
        return problem(
            "python",
            f"{found}: 32 bits",
            "install a 64-bit system: onnxruntime and faiss come for no other",
        )
    return ok("python", f"{found}, 64 bits")


def check_packages(examined: Examined) -> Finding:
    old, found = [], []
    for name, (floor, why) in _FLOORS.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return problem("packages", f"{name} is not installed", _UPDATE)
        found.append(f"{name} {version}")
        if numbers(version) < floor:
            old.append(f"{name} {version} is older than {_dotted(floor)}: {why}")
    if old:
        return advise("packages", "; ".join(old), _UPDATE)
    return ok("packages", ", ".join(found))


def check_onnxruntime(examined: Examined) -> Finding:
    try:
        flavour = onnxruntime_flavour()
    except InstallError as error:
        return problem("onnxruntime", *_halves(str(error)))
    version = importlib.metadata.version(flavour)
    if numbers(version) < _ONNXRUNTIME_FLOOR:
        return advise(
            "onnxruntime",
            f"{flavour} {version} is older than {_dotted(_ONNXRUNTIME_FLOOR)}, which guards "
            "against models that reach for other files",
            _UPDATE + "; it needs Python 3.11",
        )
    return ok("onnxruntime", f"{flavour} {version}")


def check_sqlite(examined: Examined) -> Finding:
    version = apsw.sqlite_lib_version()
    if numbers(version) < _SQLITE_FLOOR:
        return advise(
            "sqlite",
            f"SQLite {version} has a fault that can damage a database with two writers, mended "
            f"in {_dotted(_SQLITE_FLOOR)}",
            _UPDATE,
        )
    return ok("sqlite", f"SQLite {version}")


def check_model(examined: Examined) -> Finding:
    path = examined.settings.model or examined.folder.model
    shown = printable(str(path))
    if not path.exists():
        return problem(
            "model",
            f"there is no model: {shown} is not there",
            "install one: `edge-admin model install FILE`, with the .onnx file that fancl-export "
            "wrote",
        )
    try:
        encoder = open_here(path, _place(examined))
        measured = speed.measure(encoder, time.perf_counter)
    except (ModelError, ConfigError) as error:
        return problem("model", *_halves(str(error)))
    if encoder.choice.trouble:
        advice = 'mend its driver, or set provider = "cpu" in the settings'
        return advise("model", printable(encoder.choice.trouble), advice)
    decimals = 1 if measured.crops_per_second < 10 else 0
    rate = f"{measured.crops_per_second:,.{decimals}f} animals a second"
    name = printable(encoder.manifest.name)
    if measured.crops_per_second < _SLOW_CROPS_PER_SECOND:
        return advise(
            "model",
            f"{name} works, but does only {rate}",
            "export a smaller one: `fancl-export --int8`, or one with a smaller backbone",
        )
    on = in_words(encoder.choice.provider)
    return ok("model", f"{name} gives the right embeddings here, {rate} on {on}")


def _place(examined: Examined) -> Place:
    """As edge-watch runs it, but nothing is kept."""
    settings = examined.settings
    return Place(provider=settings.provider, num_threads=settings.num_threads or None)


def check_database(examined: Examined) -> Finding:
    path = examined.folder.database
    if not path.exists():
        return ok("database", "there is none yet; edge-watch makes it")
    try:
        store = open_reader(path)
    except StateError as error:
        return _database_fault(error)
    try:
        faults = store_copy.check_thoroughly(store)
        totals = store_report.totals(store)
    except StateError as error:
        return _database_fault(error)
    finally:
        store.close()
    if faults:
        return problem(
            "database",
            f"it is damaged: {printable(faults[0])}",
            "stop edge-watch, keep a copy of the state folder, and restore the last backup",
        )
    megabytes = path.stat().st_size / 1e6
    return ok(
        "database",
        f"whole, {megabytes:.1f} MB, schema {SCHEMA_VERSION}, "
        f"{counted(totals.num_media, 'picture')}, {totals.num_quarantined} in quarantine",
    )


def _database_fault(error: StateError) -> Finding:
    if error.kind in ("read-only", "in-use"):
        return unchecked("database", str(error), "run the doctor as the user the state belongs to")
    return problem("database", *_halves(str(error)))


def check_service(examined: Examined) -> Finding:
    verdict = judge(examined.folder, examined.clock())
    if not verdict.is_running:
        return advise("service", verdict.message, verdict.advice)
    reasons = verdict.report.snapshot.reasons if verdict.report else ()
    if verdict.advice:
        return problem("service", verdict.message, verdict.advice)
    if reasons:
        first = reasons[0]
        level = problem if verdict.state == "failed" else advise
        return level("service", f"{verdict.message}, but {printable(first.message)}", first.advice)
    return ok("service", f"{verdict.message}, all well")


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 4.12.0.88 -> (4, 12, 0, 88)."""
    return tuple(int(one) for one in re.findall(r"\d+", re.split(r"[-+a-zA-Z]", version)[0]))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(one) for one in version)


def _halves(message: str) -> tuple[str, str]:
    """A sentence of ours: what is wrong, and what to do."""
    wrong, _, advice = printable(message).rpartition("; ")
    return (wrong, advice) if wrong else (printable(message), "see above")
