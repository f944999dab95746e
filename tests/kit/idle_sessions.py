"""Many WebSocket sessions at small cost: an upstream on one thread, and callers that are plain sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

from flask_gateway.realtime.handshake import accept_of

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class IdleUpstream:
    """Agrees to every session, and returns the bytes of each frame as they came, unmasked by zeros.

    A caller that masks with zeros gets what it sent: only the bit of the mask has to go."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(20)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def _run(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._over = asyncio.Event()
            server = await asyncio.start_server(self._session, "127.0.0.1", 0, backlog=1024)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._over.wait()
            server.close()

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(main())

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            key = head[head.lower().index("sec-websocket-key: ") + 19 :].split("\r\n")[0]
            assert lines["upgrade"] == "websocket"
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept_of(key).encode() + b"\r\n\r\n"
            )
            while True:
                start = await reader.readexactly(2)
                if start[0] == 0x88:
                    break
                size = start[1] & 0x7F
                extended = await reader.readexactly({126: 2, 127: 8}.get(size, 0))
                size = int.from_bytes(extended) if extended else size
                payload = (await reader.readexactly(4 + size))[4:]
                writer.write(bytes((start[0], start[1] & 0x7F)) + extended + payload)
                await writer.drain()
        writer.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)


def open_session(port: int, key: str, model: str) -> socket.socket:
    """Open a session, and return its socket behind the head of the answer."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.sendall(
        f"GET /v1/realtime?model={model} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, head
        head += byte
    assert b" 101 " in head, head
    return sock
