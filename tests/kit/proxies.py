"""Runs a proxy (CONNECT, forwarded requests, SOCKS 5; with TLS or without), and a server at a Unix socket."""

from __future__ import annotations

import base64
import select
import socket
import socketserver
import ssl
import struct
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

from flask_gateway.cli.selftest.scripted_provider import read_request


def carry(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    with suppress(OSError):
        while True:
            tls = [sock for sock in (one, other) if isinstance(sock, ssl.SSLSocket) and sock.pending()]
            ready = tls or select.select([one, other], [], [])[0]
            for source, sink in ((one, other), (other, one)):
                if source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    sink.sendall(data)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the source ends, and end the sink then."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


class _Handler(socketserver.BaseRequestHandler):
    server: ProxyServer

    def handle(self) -> None:
        with suppress(OSError, ValueError, IndexError):
            sock = self.request
            if self.server.context is not None:
                sock = self.server.context.wrap_socket(sock, server_side=True)
            with sock:
                (self._socks if self.server.socks else self._http)(sock)

    def _http(self, sock: socket.socket) -> None:
        with ExitStack() as stack:
            self._requests(sock, stack)

    def _requests(self, sock: socket.socket, stack: ExitStack) -> None:
        stream = stack.enter_context(sock.makefile("rb"))
        upstream: socket.socket | None = None
        while request := read_request(stream):
            given = base64.b64decode(request.header("proxy-authorization")[6:]).decode()
            status = self.server.verdict(f"{request.method} {request.path}", given)
            if status != 200:
                sock.sendall(b"HTTP/1.1 %d Refused\r\nContent-Length: 0\r\n\r\n" % status)
                return
            if request.method == "CONNECT":
                with self.server.connect(*request.path.rsplit(":", 1)) as upstream:
                    sock.sendall(b"HTTP/1.1 200 Connected\r\nVia: 1.1 test\r\n\r\n")
                    carry(sock, upstream)
                return
            authority, _, path = request.path.removeprefix("http://").partition("/")
            if upstream is None:
                upstream = stack.enter_context(self.server.connect(*authority.rsplit(":", 1)))
                threading.Thread(target=_copy, args=(upstream, sock), daemon=True).start()
            kept = [f"{name}: {value}" for name, value in request.headers if name[:6].lower() != "proxy-"]
            head = "\r\n".join([f"{request.method} /{path} HTTP/1.1", *kept, "", ""])
            upstream.sendall(head.encode("latin-1") + request.body)

    def _socks(self, sock: socket.socket) -> None:
        stream = sock.makefile("rb")
        methods = stream.read(stream.read(2)[1])
        wanted = 2 if self.server.credentials else 0
        sock.sendall(bytes([5, wanted if wanted in methods else 255]))
        given = ""
        if wanted:
            user = stream.read(stream.read(2)[1])
            given = f"{user.decode()}:{stream.read(stream.read(1)[0]).decode()}"
            sock.sendall(bytes([1, int(given != self.server.credentials)]))
        _, _, _, kind = stream.read(4)
        size = {1: 4, 4: 16}.get(kind) or stream.read(1)[0]
        raw = stream.read(size)
        host = (
            raw.decode()
            if kind == 3
            else socket.inet_ntop({1: socket.AF_INET, 4: socket.AF_INET6}[kind], raw)
        )
        (port,) = struct.unpack(">H", stream.read(2))
        status = self.server.verdict(f"SOCKS {host}:{port}", given)
        sock.sendall(bytes([5, 0 if status == 200 else 2, 0, 1, 0, 0, 0, 0, 0, 0]))
        if status == 200:
            with self.server.connect(host, str(port)) as upstream:
                carry(sock, upstream)


class ProxyServer(socketserver.ThreadingTCPServer):
    """A proxy on this machine that finds every name at 127.0.0.1.

    :param credentials: the ``user:password`` that it asks for. :param certificate: makes it speak TLS.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, *, socks: bool = False, credentials: str = "", certificate: Path | None = None
    ) -> None:
        self.socks, self.credentials, self.context = socks, credentials, None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        #: The targets it was asked for, and the status of its answers.
        self.asked: list[str] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = int(self.server_address[1])
        scheme = "socks5h" if socks else "https" if certificate else "http"
        self.url = f"{scheme}://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def verdict(self, what: str, given: str) -> int:
        self.asked.append(what)
        return 407 if given != self.credentials else self.status

    def connect(self, host: str, port: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(port)))

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _UnixHandler(socketserver.BaseRequestHandler):
    server: UnixServer

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.upstream)) as upstream:
            carry(self.request, upstream)


class UnixServer(socketserver.ThreadingUnixStreamServer):
    """Listens at a Unix socket, and has an upstream answer."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, upstream: int) -> None:
        self.upstream = upstream
        super().__init__(str(path), _UnixHandler)
        self.url = f"http+unix://{quote(str(path), safe='')}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
