"""Reads listening addresses in gunicorn's syntax: their URLs on this machine, and whether a port is free."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sequence

_TCP = re.compile(r"(?:tcp://)?(?:\[(?P<bracketed>[^\]]*)\]|(?P<plain>[^\[\]:/]*)):(?P<port>\d+)")
#: Hosts that stand for every address of the machine, and the one to connect to instead.
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


def host_and_port(address: str) -> tuple[str, int] | None:
    """The host and the port of a TCP address; ``None`` for Unix sockets and descriptors."""
    match = _TCP.fullmatch(address.strip())
    if not match:
        return None
    host = match["plain"] if match["bracketed"] is None else match["bracketed"]
    return host, int(match["port"])


def local_url(bind: str) -> str | None:
    """The URL on this machine of the first TCP address in a ``GATEWAY_BIND``."""
    for address in bind.split(","):
        if found := host_and_port(address):
            host = _EVERYWHERE.get(found[0], found[0])
            return f"http://[{host}]:{found[1]}" if ":" in host else f"http://{host}:{found[1]}"
    return None


def in_use(binds: Sequence[str]) -> str | None:
    """The first TCP address at which another process listens; ``None`` if all are free.

    gunicorn would report it too, but only after five attempts, one second apart.
    """
    for address in binds:
        found = host_and_port(address)
        if found and _is_taken(*found):
            return address
    return None


def _is_taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            # Any other error is gunicorn's to report: it has the better message.
            return error.errno == errno.EADDRINUSE
    return False
