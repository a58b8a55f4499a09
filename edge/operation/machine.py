"""What the kernel tells of this machine: mounts, memory, temperature, supply.

Each function gives None where this machine has no such thing, and raises OSError where the kernel
does not let us look.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Bits of the firmware's get_throttled, of now and of any time since the start.
_THROTTLED_BITS = {
    0: "the supply voltage is too low",
    2: "the processor is slowed down",
    3: "the processor is near its heat limit",
    16: "the supply voltage was too low",
    18: "the processor was slowed down",
}


@dataclass(frozen=True, kw_only=True)
class Memory:
    total_bytes: int
    available_bytes: int
    swap_bytes: int


def memory(table: str | None = None) -> Memory:
    """`table` in the form of /proc/meminfo."""
    if table is None:
        table = Path("/proc/meminfo").read_text(encoding="ascii")
    pairs = (line.partition(":") for line in table.splitlines())
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in pairs}
    return Memory(
        total_bytes=kilobytes["MemTotal"] * 1024,
        available_bytes=kilobytes["MemAvailable"] * 1024,
        swap_bytes=kilobytes["SwapTotal"] * 1024,
    )


def has_hardware_clock(root: Path = Path("/sys/class/rtc")) -> bool:
    return any(root.glob("rtc*"))


def temperature_celsius(root: Path = Path("/sys/class/thermal")) -> float | None:
    """The warmest of the processor's sensors."""
    degrees = []
    for sensor in root.glob("thermal_zone*/temp"):
        try:
            degrees.append(int(sensor.read_text()) / 1000)
        except (OSError, ValueError):
            continue  # a sensor that is switched off
    sane = [one for one in degrees if -60 < one < 150]
    return max(sane, default=None)


def throttling(root: Path = Path("/sys/devices/platform")) -> list[str] | None:
    """What a Raspberry Pi's firmware has to complain of, as clauses; None on other machines."""
    for file in root.glob("soc*/soc*firmware/get_throttled"):
        bits = int(file.read_text().strip(), 16)
        return [clause for bit, clause in _THROTTLED_BITS.items() if bits >> bit & 1]
    return None
