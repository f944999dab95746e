"""Provides a scripted server, and two clients to compare: the gateway's transport, and requests alone."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import requests
import urllib3

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.errors import GatewayError
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.transport.client import UpstreamClient
from flask_gateway.upstreams.transport.deadlines import UpstreamAttempt
from kit.calls import make_call

SECONDS = 5.0


class Server:
    """Answers every request with the same bytes, and closes, or not."""

    def __init__(self, family: int = socket.AF_INET, context: ssl.SSLContext | None = None) -> None:
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self._listener = socket.create_server((host, 0), family=family)
        self._context = context
        port = self._listener.getsockname()[1]
        host = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if context else 'http'}://{host}:{port}/v1/chat"
        self.answer = b""
        self.closes = self.early = False
        self.opened = self.closed = 0
        #: Addresses of those who only want to know that all before them were accepted.
        self._marks: set[Any] = set()
        self.heads: list[bytes] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()
        self._socks: list[socket.socket] = []

    def _serve(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            if peer in self._marks:
                self._marks.remove(peer)
                sock.close()
                continue
            self.opened += 1
            self._socks.append(sock)
            self._threads.append(threading.Thread(target=self._connection, args=(sock,)))
            self._threads[-1].start()

    def _connection(self, sock: socket.socket) -> None:
        with suppress(OSError), sock:
            sock.settimeout(SECONDS)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock, sock.makefile("rb") as stream:
                while self._request(stream):
                    closes = self.closes  # a test that has its answer may be about to change it
                    sock.sendall(self.answer)
                    if closes:
                        break
                if self.early:
                    time.sleep(0.05)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed += 1

    def _request(self, stream: Any) -> bool:
        head = b""
        while (line := stream.readline()) not in (b"\r\n", b""):
            head += line
        if not head:
            return False
        self.heads.append(head)
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        return self.early or len(stream.read(length)) == length

    def so_far(self) -> int:
        """How many connections there have been, such included as were made and are not accepted yet."""
        here = self._listener.getsockname()
        with socket.socket(self._listener.family) as mark:
            mark.bind((here[0], 0))
            self._marks.add(mark.getsockname())
            mark.connect(here)
            mark.settimeout(SECONDS)
            assert mark.recv(1) == b""
        return self.opened

    def all_closed(self) -> None:
        self.so_far()
        deadline = time.monotonic() + SECONDS
        while self.closed < self.opened and time.monotonic() < deadline:
            time.sleep(0.001)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


class Answer(NamedTuple):
    """Read the bytes with a client."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True


#: No answer was to be had.
NONE = Answer(0, {}, b"", whole=False)


def trust_in(verify: bool | str) -> ssl.SSLContext | None:
    """The TLS context that trusts the certificates of a file; ``None``: the public authorities."""
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else None


class Lean:
    """As the gateway asks."""

    def __init__(self, verify: bool | str = True) -> None:
        self.reactor = Reactor()
        self.http = UpstreamClient(self.reactor, trust=trust_in(verify))

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Any:
        clocks = Timeouts(
            connect=SECONDS, first_byte=SECONDS, first_token=SECONDS, idle=SECONDS, total=SECONDS
        )
        return self.http.post(url, body, headers, UpstreamAttempt(make_call(), "one", clocks, lambda: True))

    def __call__(self, url: str, body: bytes = b"{}") -> Answer:
        try:
            source = self.post(url, body, {"Accept-Encoding": "identity"})
        except GatewayError:
            return NONE
        return drained(source.response, source.read, source.release, source.close)

    def close(self) -> None:
        self.http.close()
        assert len(self.reactor) == 0
        self.reactor.close()


class Stock:
    """As requests asks."""

    def __init__(self, verify: bool | str = True) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = verify

    def __call__(self, url: str, body: bytes = b"{}") -> Answer:
        try:
            response = self.session.post(
                url, body, headers={"Accept-Encoding": "identity"}, stream=True, timeout=SECONDS
            )
        except requests.RequestException:
            return NONE
        raw = response.raw
        return drained(
            response, lambda: raw.read1(65536, decode_content=False), raw.release_conn, response.close
        )

    def close(self) -> None:
        self.session.close()


def drained(
    response: requests.Response,
    read: Callable[[], bytes],
    release: Callable[[], None],
    close: Callable[[], None],
) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = b""
    try:
        while data := read():
            body += data
    except (GatewayError, urllib3.exceptions.HTTPError, OSError):
        close()
        return Answer(response.status_code, headers, body, whole=False)
    release()
    return Answer(response.status_code, headers, body)


@contextmanager
def serving(*args: Any) -> Iterator[Server]:
    server = Server(*args)
    yield server
    server.stop()


OK = b"HTTP/1.1 200 OK\r\n"
FIVE = b"Content-Length: 5\r\n"
HELLO = FIVE + b"\r\nhello"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"
