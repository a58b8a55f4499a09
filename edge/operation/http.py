"""Health and metrics over HTTP, for programs on this machine: four addresses, read only.

Listens on loopback or a Unix socket and nowhere else. Whatever a client sends, it gets a short
answer or none, and the watch does not notice.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from edge.operation.health import Health, Snapshot, as_record
from edge.operation.listen import Address, remove_stale
from edge.operation.metrics import CONTENT_TYPE, metrics_text
from edge.text import printable

_MAX_CONNECTIONS = 8
_MAX_HEAD_BYTES = 8192  # request line and headers together
_HEAD_SECONDS = 5.0  # for all of them
_SEND_SECONDS = 5.0
_POLL_SECONDS = 0.5  # how soon the end of the watch is noticed
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})  # against DNS rebinding; any port
_SOCKET_MODE = 0o660
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    kind: str
    body: str


@contextmanager
def served(
    address: Address,
    health: Health,
    warn: Callable[[str, str], None],
    max_silence_seconds: float,
) -> Iterator[None]:
    """Answers while the block runs; where it cannot listen it says so, and the block runs on.

    `warn` takes a kind and a sentence. `max_silence_seconds` without a beat make /livez fail.
    """
    server = _open(address, health, warn, max_silence_seconds)
    if server is None:
        yield
        return
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name="http", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _open(
    address: Address, health: Health, warn: Callable[[str, str], None], max_silence_seconds: float
) -> _Server | None:
    try:
        if address.socket is not None:
            return _UnixServer(address.socket, health, warn, max_silence_seconds)
        return _TcpServer(address.host, address.port, health, warn, max_silence_seconds)
    except OSError as error:
        place = printable(str(address.socket or f"{address.host}:{address.port}"))
        message = f"health and metrics are not served at {place}: {error.strerror or error}"
        warn("endpoints", message)
        health.degrade("endpoints", message, "change `listen` in the settings, then start again")
        return None


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def prepare(
        self, health: Health, warn: Callable[[str, str], None], max_silence_seconds: float
    ) -> None:
        self.health = health
        self.max_silence_seconds = max_silence_seconds
        self._warn = warn
        self._room = threading.BoundedSemaphore(_MAX_CONNECTIONS)

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # out of descriptors: the connection stays there, and so would the loop
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Called inside `except`; a client that left is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self._warn("endpoints", f"a request could not be answered: {error!r}")


class _TcpServer(_Server):
    allow_reuse_address = True

    def __init__(
        self,
        host: str,
        port: int,
        health: Health,
        warn: Callable[[str, str], None],
        max_silence_seconds: float,
    ) -> None:
        self.prepare(health, warn, max_silence_seconds)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def __init__(
        self,
        path: Path,
        health: Health,
        warn: Callable[[str, str], None],
        max_silence_seconds: float,
    ) -> None:
        self.prepare(health, warn, max_silence_seconds)
        self._path = path
        remove_stale(path)
        super().__init__(str(path), _Handler)  # type: ignore[arg-type]
        path.chmod(_SOCKET_MODE)
        self._inode = path.lstat().st_ino

    def server_close(self) -> None:
        super().server_close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()


class _Handler(BaseHTTPRequestHandler):
    """One request a connection (HTTP/1.0)."""

    server: _Server
    timeout = _SEND_SECONDS
    default_request_version = "HTTP/1.0"  # so that a refusal of nonsense has a head, too

    def setup(self) -> None:
        super().setup()
        self.fault: int | None = None
        try:
            self.rfile = io.BytesIO(_read_head(self.connection))
        except TimeoutError:
            self.fault = 408
        except ValueError:
            self.fault = 431
        self.connection.settimeout(_SEND_SECONDS)

    def handle_one_request(self) -> None:
        if self.fault is None:
            super().handle_one_request()
            return
        self.close_connection = True
        self.requestline, self.request_version, self.command = "", "HTTP/1.0", "GET"
        self.send_error(self.fault)

    def _answer(self) -> None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or _without_port(hosts[0]) not in _HOSTS:
            self.send_error(421)
            return
        path = self.path.partition("?")[0]
        answer = answer_to(path, self.server.health.snapshot(), self.server.max_silence_seconds)
        if answer is None:
            self.send_error(404)
        else:
            self._send(answer)

    def _refuse(self) -> None:
        self.send_error(405)

    do_GET = do_HEAD = _answer
    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A word instead of the page of http.server, which repeats what was asked."""
        reason = self.responses.get(code, ("refused", ""))[0]
        self.close_connection = True
        self._send(_Answer(status=code, kind=_TEXT, body=f"{reason}\n"))

    def _send(self, answer: _Answer) -> None:
        body = answer.body.encode("utf-8", "backslashreplace")
        self.send_response(answer.status)
        for name, value in (
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
        ):
            self.send_header(name, value)
        if answer.status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "edge-watch"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a scrape every few seconds is no event."""


def _read_head(connection: socket.socket) -> bytes:
    """Request line and headers; raises TimeoutError or, where they are too long, ValueError."""
    until = time.monotonic() + _HEAD_SECONDS
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if len(head) >= _MAX_HEAD_BYTES:
            raise ValueError("too long")
        connection.settimeout(left)
        part = connection.recv(_MAX_HEAD_BYTES - len(head))
        if not part:
            break
        head += part
    return head


def _without_port(host: str) -> str:
    return re.sub(r":[0-9]{1,5}$", "", host.strip().lower())


def answer_to(path: str, snapshot: Snapshot, max_silence_seconds: float) -> _Answer | None:
    """What is said at an address; None where there is none."""
    if path == "/livez":
        return _yes_or_no(snapshot.idle_seconds <= max_silence_seconds, "alive", "no progress")
    if path == "/readyz":
        return _yes_or_no(snapshot.is_ready, "ready", "not ready")
    if path == "/healthz":
        body = json.dumps(as_record(snapshot)) + "\n"
        return _Answer(status=503 if snapshot.state == "failed" else 200, kind=_JSON, body=body)
    if path == "/metrics":
        return _Answer(status=200, kind=CONTENT_TYPE, body=metrics_text(snapshot))
    return None


def _yes_or_no(is_so: bool, yes: str, no: str) -> _Answer:
    return _Answer(status=200 if is_so else 503, kind=_TEXT, body=f"{yes if is_so else no}\n")
