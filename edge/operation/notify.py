"""What systemd is told of the service, and the watchdog fed by progress (sd_notify(3)).

No thread and no timer sends a ping: where the pipeline stands still, systemd hears nothing and
starts the service anew.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from edge.text import printable

_PINGS_A_PERIOD = 10  # so that beats may be most of the period apart


class Notifier:
    """Datagrams to the service manager; `open_notifier` is the way to get one."""

    def __init__(self, address: str | None) -> None:
        self.num_undelivered = 0
        self._address = address
        self._socket: socket.socket | None = None
        self._status = ""
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # a manager that reads nothing must not stop the work

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        """The sentence that `systemctl status` shows; sent when it changes."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + printable(text))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def ping(self) -> None:
        self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, assignment: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(assignment.encode(), self._address)
        except OSError:  # the manager is being replaced or busy; the next beat pings again
            self.num_undelivered += 1


class Heart:
    """The pulse of the pipeline: `beat` after real progress or proven idleness, never otherwise."""

    def __init__(
        self, notifier: Notifier, period_seconds: float | None, clock: Callable[[], float]
    ) -> None:
        """`period_seconds`: within it systemd wants a ping, None: it wants none.

        `clock` gives monotonic seconds.
        """
        self.last_beat = clock()
        self._notifier = notifier
        self._every = None if period_seconds is None else period_seconds / _PINGS_A_PERIOD
        self._last_ping: float | None = None
        self._clock = clock

    def beat(self) -> None:
        now = self.last_beat = self._clock()
        if self._every is None:
            return
        if self._last_ping is None or now - self._last_ping >= self._every:
            self._last_ping = now
            self._notifier.ping()


def open_notifier(environment: Mapping[str, str]) -> Notifier:
    """The notifier of $NOTIFY_SOCKET; a silent one where no manager listens."""
    address = environment.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):  # in the abstract namespace
        return Notifier("\0" + address[1:])
    return Notifier(address if address.startswith("/") else None)


def watchdog_seconds(environment: Mapping[str, str], pid: int | None = None) -> float | None:
    """Within how many seconds systemd wants a ping of this process; None where it wants none."""
    meant_for = environment.get("WATCHDOG_PID")
    microseconds = environment.get("WATCHDOG_USEC", "")
    if meant_for is not None and meant_for != str(os.getpid() if pid is None else pid):
        return None
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6
