"""Where health and metrics may be served: loopback addresses and Unix sockets."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ConfigError

_MAX_SOCKET_PATH = 107  # bytes, of sockaddr_un


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen: a Unix socket, or a loopback host and port."""

    socket: Path | None
    host: str
    port: int


def parse_listen(text: str) -> Address | None:
    """The setting `listen`; None where it is empty. Raises ConfigError for all but loopback."""
    if not text:
        return None
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute() or len(os.fsencode(path)) > _MAX_SOCKET_PATH or "\0" in text:
            raise _wrong(text, "a Unix socket needs a whole path of at most 107 bytes")
        return Address(socket=path, host="", port=0)
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", text)
    if found is None or not 1 <= int(found[3]) <= 65535:
        raise _wrong(text, "it is no address and port")
    try:
        address = ipaddress.ip_address(found[1] or found[2])
    except ValueError as error:
        raise _wrong(text, "it is no address and port") from error
    if not address.is_loopback:
        raise _wrong(
            text,
            "only this machine may ask; from another one go through `ssh -L 9464:127.0.0.1:9464`",
        )
    return Address(socket=None, host=str(address), port=int(found[3]))


def _wrong(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"listen = {text!r} cannot be used: {why}. Write "
        '"127.0.0.1:9464", "[::1]:9464" or "unix:/run/edge-watch/http.sock"'
    )


def remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens to; raises OSError for anything else that is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(
            errno.EEXIST, "there is something that is no socket, and it is left alone"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise FileExistsError(errno.EEXIST, "another program listens there")
