"""Tests what is sent: in one piece, with the headers of requests, and none that is injected."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from kit.two_clients import HELLO, OK, Lean, Server, Stock

from flask_gateway.reactor import socket_io
from flask_gateway.upstreams.transport.connection import ONE_SEND


class Recording(socket.socket):
    """Notes what is sent in one go."""

    sent: ClassVar[list[bytes]] = []

    def send(self, data: bytes, *args: Any) -> int:  # type: ignore[override]
        self.sent.append(data)
        return super().send(data, *args)

    def sendall(self, data: bytes, *args: Any) -> None:  # type: ignore[override]
        self.sent.append(data)
        super().sendall(data, *args)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    monkeypatch.setattr(socket, "socket", Recording)
    monkeypatch.setattr(Recording, "sent", [])
    monkeypatch.setattr(socket_io, "_send", None)  # which is the C library's, and so none of Recording's
    return Recording.sent


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_a_request_leaves_in_one_piece_and_a_long_body_is_not_copied(
    server: Server, sent: list[bytes]
) -> None:
    server.answer, server.closes = OK + HELLO, False
    client = Lean()
    for size in (0, 2, ONE_SEND):
        client(server.url, b"x" * size)
    ours = [data for data in sent if data.startswith(b"POST ")]
    assert [data.partition(b"\r\n\r\n")[2] for data in ours] == [b"", b"xx", b"x" * ONE_SEND]
    sent.clear()
    body = b"x" * (ONE_SEND + 1)
    client(server.url, body)
    client.close()
    head, first, *_ = [data for data in sent if bytes(data[:4]) != b"HTTP"]
    assert first is body  # of which there may be a rest, for want of room
    assert head.endswith(b"\r\n\r\n")


def test_a_request_says_what_requests_would_say(server: Server, certificate: Path) -> None:
    server.answer, server.closes = OK + HELLO, False
    server.heads.clear()
    for make in (Lean, Stock):
        client = make(str(certificate))
        client(server.url)
        client.close()
    ours, theirs = (set(head.decode().split("\r\n")) for head in server.heads)
    said_by_requests = {"User-Agent", "Accept", "Connection"}
    assert ours <= theirs
    assert {line.partition(":")[0] for line in theirs - ours} == said_by_requests


@pytest.mark.parametrize("server", ["plain"], indirect=True)
@pytest.mark.parametrize("value", ["a\r\nB: 1", "a\nB: 1", "a\rB: 1", "a\0b", "a\r\n\r\nGET / HTTP/1.1"])
@pytest.mark.parametrize("where", ["name", "value"])
def test_a_header_cannot_inject_another(server: Server, value: str, where: str) -> None:
    server.answer, server.closes = OK + HELLO, False
    server.heads.clear()
    client = Lean()
    headers = {"X": value} if where == "value" else {value: "x"}
    with pytest.raises(ValueError, match="line end"):
        client.post(server.url, b"{}", headers)
    assert server.heads == []
    assert client(server.url).body == b"hello"
    client.close()


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_nothing_but_latin_1_is_sent(server: Server) -> None:
    client = Lean()
    with pytest.raises(UnicodeEncodeError):
        client.post(server.url, b"{}", {"X": "\u2713"})
    client.close()


def connected_to(port: int) -> list[int]:
    """``SO_KEEPALIVE`` of each socket of this process whose peer has this port."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(fd)))
        except OSError:  # no socket, or closed meanwhile
            continue
        with sock, suppress(OSError, IndexError, TypeError):
            if sock.getpeername()[1] == port:
                found.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
def test_the_kernel_probes_a_silent_upstream(server: Server, certificate: Path) -> None:
    """``SO_KEEPALIVE``, read from the connected socket: a silent peer may have lost its power."""
    server.answer, server.closes = OK + HELLO, False
    client = Lean(str(certificate))
    client(server.url)
    port = urlsplit(server.url).port
    assert port
    assert set(connected_to(port)) == {1}
    client.close()
