"""`edge-admin doctor`: every check in its order, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edge.doctor import doctor_folders, doctor_hardware, doctor_software
from edge.doctor.finding import Examined, Finding, Level, unchecked
from edge.errors import FanclError
from edge.text import printable

Check = Callable[[Examined], Finding]
# By the word that stands before the finding.
CHECKS: dict[str, Check] = {
    "python": doctor_software.check_python,
    "packages": doctor_software.check_packages,
    "onnxruntime": doctor_software.check_onnxruntime,
    "sqlite": doctor_software.check_sqlite,
    "memory": doctor_hardware.check_memory,
    "heat": doctor_hardware.check_heat,
    "supply": doctor_hardware.check_supply,
    "clock": doctor_hardware.check_clock,
    "state folder": doctor_folders.check_state_rights,
    "file system": doctor_folders.check_file_system,
    "space": doctor_folders.check_space,
    "card speed": doctor_hardware.check_card,
    "inbox": doctor_folders.check_inbox,
    "model": doctor_software.check_model,
    "database": doctor_software.check_database,
    "service": doctor_software.check_service,
}
EXIT_CODES: dict[Level, int] = {"ok": 0, "advice": 1, "problem": 2}


def examine(examined: Examined, checks: dict[str, Check] | None = None) -> Iterator[Finding]:
    """A finding a check, as they are made; one that cannot be made says why."""
    for name, check in (CHECKS if checks is None else checks).items():
        try:
            yield check(examined)
        except (OSError, FanclError, ValueError, KeyError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            yield unchecked(
                name, printable(why), "run the doctor as the user of the service, or as root"
            )


def worst(findings: Sequence[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    if "problem" in levels:
        return "problem"
    return "advice" if "advice" in levels else "ok"
