"""Builds real upstreams with their own reactor, for tests of single exchanges."""

from __future__ import annotations

import gc
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.call import Call
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.transport.client import UpstreamClient
from kit.calls import make_call
from kit.two_clients import trust_in

#: The delay with which a timeout may fire, seconds (promise P2) ...
PUNCTUAL = 0.25
#: ... and the delay of a single timeout here: other tests may use the CPU. The other timeouts fire at 2 s,
#: or never.
OVERSHOOT = 2.0


class Bench:
    """Builds upstreams over one client, and checks at the end that nothing leaked."""

    def __init__(self, verify: bool | str = True) -> None:
        self.reactor = Reactor()
        self.http = UpstreamClient(self.reactor, trust=trust_in(verify))

    def upstream(self, url: str, **clocks: float) -> HttpUpstream:
        return HttpUpstream("one", f"{url}/v1", None, self.http, Timeouts(**clocks))

    def close(self) -> None:
        self.http.close()
        assert len(self.reactor) == 0
        self.reactor.close()


def call(model: str, *, seconds: float | None = None, stream: bool = False, **fields: Any) -> Call:
    """A call that begins now.

    :param seconds: the caller's timeout.
    """
    made = make_call(model, stream=stream, **fields)
    now = time.monotonic()
    return msgspec.structs.replace(
        made,
        fields={**made.fields, "stream": msgspec.Raw(b"true" if stream else b"false")},
        started=now,
        deadline=now + seconds if seconds is not None else made.deadline,
    )


def collect() -> None:
    """Run the garbage collector.

    If a peer resets a connection during the TLS handshake, ``SSLSocket._create`` leaves an open socket to the
    collector, which would warn.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def open_files(pid: int | str = "self") -> dict[str, str]:
    """The open files of a process, by descriptor. Those that are closed meanwhile are left out."""
    found = {}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[fd.name] = os.readlink(fd)
    return found


def open_sockets(pid: int) -> set[str]:
    """The open sockets of a process, as the kernel names them."""
    return {name for name in open_files(pid).values() if name.startswith("socket:")}


@contextmanager
def unreachable() -> Iterator[str]:
    """The URL of a server that accepts no connection: its queue is full, so it does not answer SYNs."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        queued = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            queued.append(sock)
        time.sleep(0.05)
        yield f"http://127.0.0.1:{address[1]}"
        for sock in queued:
            sock.close()
