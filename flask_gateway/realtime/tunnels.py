"""All WebSocket sessions of a process."""

from __future__ import annotations

import socket
import time
from functools import partial

from ..streaming.relay import Relay
from .relayed_session import Done
from .tunnel import Tunnel


class Tunnels:
    """Begins sessions and ends them. :param relay: its threads decide and settle, its reactor polls."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._all: set[Tunnel] = set()

    def __len__(self) -> int:
        return len(self._all)

    def start(self, tunnel: Tunnel, sock: socket.socket, head: bytes, ahead: bytes, done: Done) -> None:
        """Relay a session to its end. The calling thread must not use the socket any more.

        :param head: of the answer, with status 101. :param ahead: what the caller has sent behind its head.
        """

        def ended(clean: bool) -> None:
            self._all.discard(tunnel)
            done(clean)

        self._all.add(tunnel)
        begin = partial(tunnel.begin, self._relay, sock, head, ahead, ended)
        self._relay.reactor.at(time.monotonic(), partial(tunnel.guarded, begin))

    def drain(self) -> None:
        """End the sessions that await no response, and the others as soon as they do not. Any thread."""
        for tunnel in list(self._all):
            self._relay.reactor.at(time.monotonic(), partial(tunnel.guarded, tunnel.drain))
