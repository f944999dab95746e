"""Shares parts of the tests of live_attacks."""

from __future__ import annotations

import os
from pathlib import Path

from kit.servers import Gateway
from kit.wire import Answer, send_raw


def raw(port: int, *lines: bytes, body: bytes = b"", target: bytes = b"GET /v1/models") -> Answer:
    """A request whose header lines are these, byte by byte."""
    first = [target + b" HTTP/1.1", f"Host: 127.0.0.1:{port}".encode(), *lines]
    return send_raw(port, b"\r\n".join([*first, b"", b""]) + body)


def processes(gateway: Gateway) -> list[int]:
    master = int(Path(f"/proc/{gateway.workers[0]}/stat").read_text().rpartition(")")[2].split()[1])
    return [master, *gateway.workers]


def shared_memory(gateway: Gateway) -> list[str]:
    """The paths to the state that the workers share."""
    folder = Path(f"/proc/{processes(gateway)[0]}/fd")
    return [str(file) for file in folder.iterdir() if "memfd:flask-gateway" in os.readlink(file)]


def metrics_files(gateway: Gateway) -> list[Path]:
    """The files that the workers count in."""
    links = [file.resolve() for pid in gateway.workers for file in Path(f"/proc/{pid}/map_files").iterdir()]
    return sorted({file for file in links if "flask-gateway-metrics" in str(file)})
