"""The endpoints, asked by friends and by others."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.errors import ConfigError
from edge.operation import http
from edge.operation.health import Health
from edge.operation.http import served
from edge.operation.listen import Address, parse_listen

HOST = "Host: localhost\r\n"


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Service:
    """Endpoints on loopback with all they read from."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.health = Health(self.clock)
        self.warnings: list[tuple[str, str]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.address = Address(socket=None, host="127.0.0.1", port=self.port)

    def warn(self, kind: str, message: str) -> None:
        self.warnings.append((kind, message))

    def served(self, address: Address | None = None):
        return served(address or self.address, self.health, self.warn, 60.0)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, request: str | bytes) -> tuple[int, str]:
        """(status, body); status 0 where the connection was closed without an answer."""
        with self.connect() as connection:
            return exchange(connection, request)

    def get(self, path: str) -> tuple[int, str]:
        return self.ask(f"GET {path} HTTP/1.1\r\n{HOST}\r\n")


def exchange(connection: socket.socket, request: str | bytes) -> tuple[int, str]:
    connection.sendall(request.encode() if isinstance(request, str) else request)
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        if not answer:
            return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body.decode()


@pytest.fixture(autouse=True)
def _quick_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_POLL_SECONDS", 0.01)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with service.served():
        yield service
    assert service.warnings == []


def test_alive_while_there_is_progress(service):
    assert service.get("/livez") == (200, "alive\n")
    service.clock.seconds += 61
    assert service.get("/livez") == (503, "no progress\n")
    service.health.progress()
    assert service.get("/livez?verbose=1") == (200, "alive\n")


def test_ready_once_it_is_and_until_it_stops(service):
    assert service.get("/readyz") == (503, "not ready\n")
    service.health.ready()
    assert service.get("/readyz") == (200, "ready\n")
    service.health.fail("read-only", "the disk is read-only", "look at dmesg")
    assert service.get("/readyz")[0] == 503
    service.health.clear("read-only")
    service.health.stopping()
    assert service.get("/readyz")[0] == 503


def test_health_as_json_and_as_metrics(service):
    service.health.degrade("disk-full", "the disk is full", "free some space")
    status, body = service.get("/healthz")
    record = json.loads(body)
    assert (status, record["state"]) == (200, "degraded")
    assert [one["kind"] for one in record["reasons"]] == ["disk-full"]
    service.health.fail("io", "the disk fails", "replace it")
    assert service.get("/healthz")[0] == 503
    status, body = service.get("/metrics")
    assert status == 200 and 'edgewatch_state{state="failed"} 1\n' in body


def test_head_is_the_head_alone(service):
    assert service.ask(f"HEAD /healthz HTTP/1.1\r\n{HOST}\r\n") == (200, "")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (f"POST /healthz HTTP/1.1\r\n{HOST}\r\n", 405),
        (f"DELETE / HTTP/1.1\r\n{HOST}\r\n", 405),
        (f"BREW /healthz HTTP/1.1\r\n{HOST}\r\n", 501),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET /healthz HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 421),
        ("GET /healthz HTTP/1.1\r\nHost: 192.168.1.7:9464\r\n\r\n", 421),
        (f"GET /healthz HTTP/1.1\r\n{HOST}Host: evil.example\r\n\r\n", 421),
        ("GET /healthz HTTP/1.1\r\n\r\n", 421),
        ("GET /healthz HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\nHost: LOCALHOST:8080\r\n\r\n", 200),
        (f"GET / HTTP/1.1\r\n{HOST}\r\n", 404),
        (f"GET /../../etc/passwd HTTP/1.1\r\n{HOST}\r\n", 404),
        (f"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n{HOST}\r\n", 404),
        (f"GET /healthz%00.html HTTP/1.1\r\n{HOST}\r\n", 404),
        (f"GET //evil.example/healthz HTTP/1.1\r\n{HOST}\r\n", 404),
        (f"GET http://evil.example/healthz HTTP/1.1\r\n{HOST}\r\n", 404),
        (f"GET /<script>alert(1)</script> HTTP/1.1\r\n{HOST}\r\n", 404),
        ("GET /" + "a" * 20_000 + f" HTTP/1.1\r\n{HOST}\r\n", 431),
        (f"GET /healthz HTTP/1.1\r\n{HOST}" + "A: b\r\n" * 5000 + "\r\n", 431),
        (f"GET /healthz HTTP/1.1\r\n{HOST}" + "A: b\r\n" * 150 + "\r\n", 431),
        (f"GET /healthz HTTP/9.9\r\n{HOST}\r\n", 505),
        ("GET /a b c HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # someone speaks TLS
    ],
    ids=range(23),
)
def test_hostile_requests_get_a_short_refusal(service, request_text, status):
    found, body = service.ask(request_text)
    assert found in ((status, 0) if status == 431 else (status,))  # a reset while still sending
    if status != 200:
        assert len(body) < 60 and "<" not in body and "etc" not in body
    assert service.get("/livez")[0] == 200


def test_a_client_that_sends_nothing_or_drips_is_cut_off(service, monkeypatch):
    monkeypatch.setattr(http, "_HEAD_SECONDS", 0.3)
    started = time.monotonic()
    with service.connect() as silent, service.connect() as dripping:
        stop = threading.Event()

        def drip() -> None:
            try:
                while not stop.wait(0.05):
                    dripping.sendall(b"x")
            except OSError:
                return

        thread = threading.Thread(target=drip)
        thread.start()
        assert exchange(silent, b"")[0] == 408
        assert dripping.recv(100).startswith(b"HTTP/1.0 408")
        stop.set()
        thread.join()
    assert time.monotonic() - started < 5


def test_a_crowd_is_turned_away_and_the_next_is_served(service):
    with ExitStack() as crowd:
        first = [crowd.enter_context(service.connect()) for _ in range(8)]
        before = threading.active_count()
        for _ in range(50):
            with service.connect() as one_more:
                assert one_more.recv(1) == b""
        assert threading.active_count() <= before + 8
        assert exchange(first[0], f"GET /livez HTTP/1.1\r\n{HOST}\r\n")[0] == 200
    deadline = time.monotonic() + 5
    while service.get("/livez")[0] != 200:
        assert time.monotonic() < deadline


def ask_socket(path: Path) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        return exchange(connection, f"GET /livez HTTP/1.1\r\n{HOST}\r\n")[0]


def test_a_unix_socket_is_for_owner_and_group_and_gone_afterwards(tmp_path):
    service, path = Service(), tmp_path / "http.sock"
    with service.served(parse_listen(f"unix:{path}")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert ask_socket(path) == 200
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path):
    service, path = Service(), tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with service.served(parse_listen(f"unix:{path}")):
        assert ask_socket(path) == 200


@pytest.mark.parametrize("kind", ["file", "link", "in use", "no folder", "port in use"])
def test_where_it_cannot_listen_the_watch_runs_on_and_says_so(tmp_path, kind):
    service, other, path = Service(), Service(), tmp_path / "http.sock"
    address = parse_listen(f"unix:{path}")
    with ExitStack() as stack:
        if kind == "file":
            path.write_text("precious")
        elif kind == "link":
            (tmp_path / "precious").write_text("precious")
            path.symlink_to(tmp_path / "precious")
        elif kind == "in use":
            stack.enter_context(other.served(address))
        elif kind == "no folder":
            address = parse_listen(f"unix:{tmp_path}/absent/http.sock")
        else:
            stack.enter_context(other.served())
            address = other.address
        before = sorted(tmp_path.iterdir())
        with service.served(address):
            assert sorted(tmp_path.iterdir()) == before
        snapshot = service.health.snapshot()
        assert (snapshot.state, snapshot.reasons[0].kind) == ("degraded", "endpoints")
        assert "not served" in service.warnings[0][1]
    if kind == "file":
        assert path.read_text() == "precious"


def test_nowhere_is_nowhere():
    assert parse_listen("") is None


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("[::1]:80", "::1", 80),
        ("127.9.9.9:1", "127.9.9.9", 1),
    ],
)
def test_loopback_addresses_are_taken(text, host, port):
    assert parse_listen(text) == Address(socket=None, host=host, port=port)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:9464", "192.168.1.7:9464", "[::]:9464", "[fe80::1]:9464", "[::ffff:10.0.0.1]:80",
        "9464", ":9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536",
        "127.0.0.1:80 ", "127.1:80", "unix:", "unix:http.sock", "unix:/" + "a" * 107,
        "tcp://127.0.0.1:80",
    ],
)  # fmt: skip
def test_any_other_address_is_a_sentence_with_a_right_one(text):
    with pytest.raises(ConfigError, match=r'listen = .* Write "127\.0\.0\.1:9464"'):
        parse_listen(text)
