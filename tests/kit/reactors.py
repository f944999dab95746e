"""Provides what the tests of the reactor share: connected sockets, and the CPU time of this process."""

from __future__ import annotations

import socket
import time


class connected:
    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.ours, _ = server.accept()
        return self.ours, self.peer

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.peer.close()


def cpu() -> float:
    return time.process_time()
