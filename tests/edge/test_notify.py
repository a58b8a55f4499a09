"""What systemd hears, over a datagram socket of its kind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.config import LogFormat, Settings
from edge.operation.logs import Log
from edge.operation.notify import Heart, Notifier, open_notifier, watchdog_seconds
from edge.operation.operation import operated
from edge.record.state import StateFolder


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Manager:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000"}

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    notifier = open_notifier(manager.environment)
    yield notifier
    notifier.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def _operated(folder: Path, manager: Manager, clock: Callable[[], float]):
    return operated(
        StateFolder(root=folder), Settings(), folder, Log(LogFormat.text, clock),
        manager.environment, clock,
    )  # fmt: skip


def test_a_service_says_that_it_is_ready_and_that_it_stops(tmp_path, manager):
    with _operated(tmp_path, manager, Clock()) as operation:
        assert manager.heard() == []
        operation.ready()
        assert manager.heard() == ["READY=1", "WATCHDOG=1", "STATUS=ok; 0 files done, 0 waiting"]
    assert manager.heard() == ["STOPPING=1"]


def test_a_stuck_pipeline_sends_no_ping_and_an_idle_one_does(tmp_path, manager):
    clock = Clock()
    with _operated(tmp_path, manager, clock) as operation:
        operation.ready()
        manager.heard()
        num_threads = threading.active_count()
        clock.seconds += 61  # stuck: whoever should call `beat` does not come back
        assert manager.heard() == []
        gap, longest = 0.0, 0.0
        for _ in range(300):  # idle for five minutes, a tick a second
            clock.seconds += 1
            gap += 1
            operation.beat()
            if "WATCHDOG=1" in manager.heard():
                longest, gap = max(longest, gap), 0.0
        assert 0 < longest <= 60 / 2
        assert threading.active_count() == num_threads  # nobody else could have sent it


def test_beats_close_together_are_few_pings(manager, notifier):
    clock = Clock()
    heart = Heart(notifier, 60.0, clock)
    for _ in range(1000):
        clock.seconds += 0.06
        heart.beat()
    assert 5 <= manager.heard().count("WATCHDOG=1") <= 11
    assert heart.last_beat == clock.seconds


def test_the_status_line_is_one_line_and_sent_when_it_changes(manager, notifier):
    for text in ("one\nREADY=1", "one\nREADY=1", "two"):
        notifier.status(text)
    assert manager.heard() == [r"STATUS=one\x0aREADY=1", "STATUS=two"]


def test_an_abstract_socket_is_heard_too(tmp_path):
    manager = Manager(f"@edge-watch-test-{tmp_path}"[:100])
    with closing(open_notifier(manager.environment)) as notifier:
        notifier.ready()
    assert manager.heard() == ["READY=1"]
    manager.socket.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_without_a_manager_nothing_is_sent_and_nothing_fails(address):
    notifier = open_notifier({"NOTIFY_SOCKET": address} if address else {})
    Heart(notifier, 1.0, Clock()).beat()
    assert notifier.num_undelivered == 0


def test_a_manager_that_has_gone_or_reads_nothing_stops_nobody(tmp_path, notifier):
    for _ in range(5000):  # far more than a socket holds
        notifier.ping()
    assert notifier.num_undelivered > 0
    (tmp_path / "notify").unlink()
    before = notifier.num_undelivered
    notifier.ping()
    assert notifier.num_undelivered == before + 1


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_period_is_that_of_the_unit(environment, seconds):
    assert watchdog_seconds(environment, pid=7) == seconds
