"""Whether the system's clock can be believed. Nothing is ever ordered by it.

A field device starts in 1970 when its battery is flat, and jumps by years when it is set.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")  # made once a server answered
_EARLIEST = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()  # before this program was
_LATEST = datetime(2051, 1, 1, tzinfo=timezone.utc).timestamp()
_MAX_STEP_SECONDS = 5.0  # between two reads; slewing and leap seconds stay below
_STA_UNSYNC, _TIME_ERROR = 0x0040, 5  # linux/timex.h


@dataclass(frozen=True, kw_only=True)
class ClockState:
    boot_id: str | None  # of this start of the system; None where it is not told
    trusted: bool
    doubt: str | None  # why not, as a sentence; None if and only if trusted


class _Timex(ctypes.Structure):
    """struct timex of 64-bit Linux as far as it is read; the kernel writes 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


class Clock:
    """Remembers how far the clock was ahead of the time since the start, to notice a step."""

    def __init__(self) -> None:
        self._ahead_seconds = _ahead_seconds()

    def read(self) -> ClockState:
        """Never fails; what cannot be found out is a doubt."""
        before, self._ahead_seconds = self._ahead_seconds, _ahead_seconds()
        step = self._ahead_seconds - before
        doubt = _doubt_of_date(time.time())
        if doubt is None and abs(step) > _MAX_STEP_SECONDS:
            doubt = f"the clock jumped by {step:+.0f} s"
        doubt = doubt or _doubt_of_kernel()
        return ClockState(boot_id=_boot_id(), trusted=doubt is None, doubt=doubt)


def read_clock() -> ClockState:
    """The state of the clock by one look, which cannot notice a step."""
    return Clock().read()


def _ahead_seconds() -> float:
    return time.time() - time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _doubt_of_date(seconds: float) -> str | None:
    if _EARLIEST <= seconds <= _LATEST:
        return None
    year = time.gmtime(seconds).tm_year
    return f"the clock says {year}, which cannot be; set it, or fit a clock with a battery"


def _doubt_of_kernel() -> str | None:
    """Where a service may not ask the kernel, the word of systemd's time service counts."""
    code, status, number = _adjtimex()
    if code >= 0:
        if code == _TIME_ERROR or status & _STA_UNSYNC:
            return "the clock is not set by any time server or receiver"
        return None
    if _SYNCHRONISED.exists():
        return None
    return f"the kernel does not tell whether the clock is set ({os.strerror(number)})"


def _adjtimex() -> tuple[int, int, int]:
    """Return code, status and error number of adjtimex(2), which changes nothing here."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return -1, 0, errno.ENOSYS
    timex = _Timex()
    code = int(call(ctypes.byref(timex)))
    return code, int(timex.status), ctypes.get_errno()


def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None
