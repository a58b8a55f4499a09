"""The doctor's look at the machine: memory, heat, clock, the speed of the card."""

from __future__ import annotations

from datetime import datetime, timezone

from edge.doctor.card import measure_card
from edge.doctor.finding import Examined, Finding, advise, ok, problem, unchecked
from edge.operation import machine
from edge.operation.clock import read_clock
from edge.text import printable

_GB = 1e9
_FIRST_SANE_YEAR, _LAST_SANE_YEAR = 2026, 2060
_LITTLE_MEMORY, _LITTLE_AVAILABLE = 0.9 * _GB, 0.3 * _GB
_HOT_CELSIUS = 80.0  # a Raspberry Pi slows down here
_SLOW_COMMITS, _SLOW_MEGABYTES = 20.0, 5.0  # a second
_AS_OWNER = "run the doctor as the user of the service: `sudo -u edge-watch edge-admin doctor`"


def check_clock(examined: Examined, now: datetime | None = None) -> Finding:
    moment = now or datetime.now(timezone.utc)
    said = f"{moment:%Y-%m-%d %H:%M} UTC"
    if not _FIRST_SANE_YEAR <= moment.year <= _LAST_SANE_YEAR:
        return problem(
            "clock",
            f"it says {said}, which cannot be",
            "set it: `sudo date -u -s '2026-05-01 06:30'`, and fit a clock with a battery",
        )
    if read_clock().trusted:
        return ok("clock", f"{said}, set by a time service")
    if machine.has_hardware_clock():
        return ok("clock", f"{said}, from the battery-backed clock; compare it with your watch")
    return advise(
        "clock",
        f"{said}, but no time service sets it and there is no battery-backed clock: after a power "
        "cut it is wrong",
        "fit a clock module (DS3231), or set the time after each start; the cameras' own times "
        "are not touched by this",
    )


def check_memory(examined: Examined) -> Finding:
    found = machine.memory()
    said = (
        f"{found.total_bytes / _GB:.1f} GB, {found.available_bytes / _GB:.1f} GB of it available, "
        f"{found.swap_bytes / _GB:.1f} GB swap"
    )
    if found.total_bytes < _LITTLE_MEMORY:
        return advise("memory", f"{said}: little", "set num_decoders = 1 in the settings")
    if found.available_bytes < _LITTLE_AVAILABLE:
        return advise(
            "memory", f"{said}: nearly used up", "stop what else runs here, or restart the device"
        )
    return ok("memory", said)


def check_heat(examined: Examined) -> Finding:
    celsius = machine.temperature_celsius()
    if celsius is None:
        return ok("heat", "this machine shows no temperature")
    said = f"the processor has {celsius:.0f} °C"
    if celsius >= _HOT_CELSIUS:
        return advise("heat", f"{said}: it slows down to cool", "give it shade, air or a heat sink")
    return ok("heat", said)


def check_supply(examined: Examined) -> Finding:
    complaints = machine.throttling()
    if complaints is None:
        return ok("supply", "this machine does not report on its supply")
    if complaints:
        return advise(
            "supply",
            "; ".join(complaints) + " (since it was switched on)",
            "use the maker's power supply and a short, thick cable; cool the board",
        )
    return ok("supply", "steady, and never slowed down since it was switched on")


def check_card(examined: Examined) -> Finding:
    folder = examined.folder.root
    if not folder.is_dir():
        return ok("card speed", "not measured: the state folder is not there yet")
    try:
        measured = measure_card(folder, examined.clock)
    except OSError as error:
        return unchecked("card speed", f"{printable(str(folder))}: {error.strerror}", _AS_OWNER)
    if measured is None:
        return unchecked("card speed", "too little free space to measure it", "free some space")
    said = (
        f"{measured.commits_per_second:.0f} synced writes a second, "
        f"{measured.megabytes_per_second:.0f} MB/s in one piece"
    )
    if measured.commits_per_second < _SLOW_COMMITS:
        return advise(
            "card speed",
            f"{said}: slow to sync, as cards are that are worn or not made for it",
            "use an A2 or industrial card, or an SSD; copy the state folder before this one dies",
        )
    if measured.megabytes_per_second < _SLOW_MEGABYTES:
        return advise("card speed", f"{said}: slow", "use an A2 or industrial card, or an SSD")
    return ok("card speed", said)
