"""Requests written and answers read by ourselves, against how requests does it: over real sockets, the
same bytes are the same answer, or it is said why not."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import requests
import urllib3
from kit.calls import make_call
from kit.tls import make_certificate

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.errors import GatewayError
from flask_gateway.reactor import Reactor, socket_io
from flask_gateway.upstreams.transport import pool
from flask_gateway.upstreams.transport.client import UpstreamClient
from flask_gateway.upstreams.transport.connection import ONE_SEND
from flask_gateway.upstreams.transport.deadlines import UpstreamAttempt
from flask_gateway.upstreams.transport.http1 import MalformedResponse
from flask_gateway.upstreams.transport.response import MAX_INTERIM, read_response

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
Client = Callable[[str, bytes], Answer]


class Lean:
    """As the gateway asks."""

    def __init__(self, verify: bool | str = True) -> None:
        self.reactor = Reactor()
        self.http = UpstreamClient(self.reactor, verify=verify)

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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls", "ipv6"], scope="module")
def server(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Server]:
    context = None
    if request.param == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with serving(socket.AF_INET6 if request.param == "ipv6" else socket.AF_INET, context) as server:
        yield server


class Case(NamedTuple):
    """An answer's bytes. When ours is not what requests makes of them: what it is, and why."""

    raw: bytes
    closes: bool = False
    why: str = ""
    ours: Answer = NONE
    #: Connections that two requests take of us, and of requests.
    opens: tuple[int, int] = (1, 1)


OK = b"HTTP/1.1 200 OK\r\n"
FIVE = b"Content-Length: 5\r\n"
HELLO = FIVE + b"\r\nhello"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"
AGAIN = (2, 2)
READ_IN_TWO_WAYS = "it can be read in two ways"
HALF_A_HEAD = "half a head is none"
LEFTOVER = "bytes that nobody asked for are nobody's answer"

CASES = {
    # Framings.
    "length": Case(OK + HELLO),
    "length, closed": Case(OK + HELLO, closes=True, opens=AGAIN),
    "length, says close": Case(OK + b"Connection: close\r\n" + HELLO, closes=True, opens=AGAIN),
    "length 0": Case(OK + b"Content-Length: 0\r\n\r\n"),
    "length twice the same": Case(OK + FIVE + HELLO),
    "204": Case(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304": Case(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
    "chunked": Case(OK + CHUNKED + b"\r\n" + BODY),
    "chunked, in pieces": Case(OK + CHUNKED + b"\r\n1\r\nh\r\n04\r\nello\r\n0\r\n\r\n"),
    "chunked, big": Case(OK + CHUNKED + b"\r\n186A0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"),
    "chunked, extended": Case(OK + CHUNKED + b"\r\n5;a=b;c\r\nhello\r\n0;d\r\n\r\n"),
    "chunked, trailers": Case(OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nT: x\r\nU: y\r\n\r\n"),
    "chunked, bare LF": Case(
        OK + CHUNKED + b"\r\n5\nhello\n0\n\n",
        closes=True,
        why="both refuse it, requests later",
        ours=Answer(200, {"transfer-encoding": "chunked"}, b"", whole=False),
        opens=AGAIN,
    ),
    "Chunked": Case(OK + b"transfer-encoding: Chunked\r\n\r\n" + BODY),
    "chunked and a length": Case(
        OK + CHUNKED + FIVE + b"\r\n" + BODY, why="RFC 9112, 6.3: closed", opens=(2, 1)
    ),
    "until closed": Case(OK + b"\r\nhello", closes=True, opens=AGAIN),
    "until closed, nothing": Case(OK + b"\r\n", closes=True, opens=AGAIN),
    "1.0": Case(b"HTTP/1.0 200 OK\r\n\r\nhello", closes=True, opens=AGAIN),
    "1.0, length": Case(b"HTTP/1.0 200 OK\r\n" + HELLO, closes=True, opens=AGAIN),
    "1.0, kept": Case(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + HELLO),
    # Heads.
    "no reason": Case(b"HTTP/1.1 200\r\n" + HELLO),
    "an empty reason": Case(b"HTTP/1.1 200 \r\n" + HELLO),
    "an odd status": Case(b"HTTP/1.1 799 What\r\n" + HELLO),
    "latin-1": Case(b"HTTP/1.1 200 \xd6k\r\nX: \xe4\xf6\r\n" + HELLO),
    "odd names": Case(OK + b"X_y.1!#$%&'*+-^`|~: v\r\nCONTENT-length:5\r\n\r\nhello"),
    "twice": Case(OK + b"A: 1\r\nB: 2\r\na: 3\r\nSet-Cookie: x=1\r\nSet-Cookie: y=2\r\n" + HELLO),
    "empty": Case(OK + b"A:\r\nB: \r\n" + HELLO),
    "spaces around": Case(
        OK + b"A: \t b c \t\r\n" + HELLO,
        why="RFC 9112, 5.1: no part of the value",
        ours=Answer(200, {"a": "b c", "content-length": "5"}, b"hello"),
    ),
    "colons": Case(OK + b"A: b: c\r\n" + HELLO),
    "bare LF": Case(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    "99 headers": Case(OK + b"".join(b"h%d: v\r\n" % n for n in range(98)) + HELLO),
    "an error": Case(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n" + HELLO),
    "a redirect": Case(b"HTTP/1.1 201 Created\r\nLocation: /elsewhere\r\n" + HELLO),
    "gzip": Case(OK + b"Content-Encoding: gzip\r\n" + HELLO),
    # Interim heads before the answer.
    "100 first": Case(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + HELLO),
    "100 twice": Case(b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" * 2 + OK + HELLO),
    "103 first": Case(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + HELLO,
        why="http.client takes it for the answer",
        ours=Answer(200, {"content-length": "5"}, b"hello"),
    ),
    "101": Case(b"HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n", why="what follows is not HTTP", opens=(2, 1)),
    # Truncated answers.
    "nothing": Case(b"", closes=True, opens=AGAIN),
    "100 and nothing": Case(b"HTTP/1.1 100 Continue\r\n\r\n", closes=True, opens=AGAIN),
    "length, cut": Case(OK + HELLO[:-2], closes=True, opens=AGAIN),
    "length, cut at once": Case(OK + HELLO[:-5], closes=True, opens=AGAIN),
    "chunked, cut in a chunk": Case(OK + CHUNKED + b"\r\n" + BODY[:6], closes=True, opens=AGAIN),
    "chunked, cut after one": Case(OK + CHUNKED + b"\r\n" + BODY[:10], closes=True, opens=AGAIN),
    "chunked, cut in a size": Case(OK + CHUNKED + b"\r\n" + BODY + b"1", opens=(2, 1), why=LEFTOVER),
    "chunked, cut in its end": Case(
        OK + CHUNKED + b"\r\n" + BODY[:-2],
        closes=True,
        why="the last line may be one of many",
        ours=Answer(200, {"transfer-encoding": "chunked"}, b"hello", whole=False),
        opens=AGAIN,
    ),
    "half a status": Case(OK[:-3], closes=True, why=HALF_A_HEAD, opens=AGAIN),
    "half a header": Case(OK + b"A: b", closes=True, why=HALF_A_HEAD, opens=AGAIN),
    "a head without its end": Case(OK + b"A: b\r\n", closes=True, why=HALF_A_HEAD, opens=AGAIN),
    # Invalid or ambiguous HTTP.
    "no HTTP": Case(b"SSH-2.0-OpenSSH\r\n\r\n", closes=True, opens=AGAIN),
    "HTTP/2": Case(b"HTTP/2 200 OK\r\n" + HELLO, closes=True, opens=AGAIN),
    "HTTP/1.2": Case(b"HTTP/1.2 200 OK\r\n" + HELLO, closes=True, why="there is no such", opens=AGAIN),
    "no number": Case(b"HTTP/1.1 OK\r\n" + HELLO, closes=True, opens=AGAIN),
    "folded": Case(OK + b"A: b\r\n c\r\n" + HELLO, why="RFC 9112, 5.2: obsolete", opens=(2, 1)),
    "a space before the colon": Case(
        OK + b"A : b\r\n" + HELLO, closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN
    ),
    "no colon": Case(OK + b"A b\r\n" + HELLO, closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN),
    "a bare CR": Case(OK + b"A: b\rC: d\r\n" + HELLO, why=READ_IN_TWO_WAYS, opens=(2, 1)),
    "a NUL": Case(OK + b"A: b\0\r\n" + HELLO, why=READ_IN_TWO_WAYS, opens=(2, 1)),
    "101 headers": Case(OK + b"".join(b"h%d: v\r\n" % n for n in range(100)) + HELLO, opens=AGAIN),
    "a long line": Case(OK + b"A: " + b"x" * 70_000 + b"\r\n" + HELLO, opens=AGAIN),
    "a long head": Case(
        OK + (b"A: " + b"x" * 1000 + b"\r\n") * 70 + HELLO, why="64 KiB in all", opens=(2, 1)
    ),
    "two lengths": Case(OK + b"Content-Length: 4\r\n" + HELLO, closes=True, opens=AGAIN),
    "a signed length": Case(OK + b"Content-Length: +5\r\n\r\nhello", why=READ_IN_TWO_WAYS, opens=(2, 1)),
    "a negative length": Case(
        OK + b"Content-Length: -5\r\n\r\nhello", closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN
    ),
    "no length": Case(
        OK + b"Content-Length: x\r\n\r\nhello", closes=True, why=READ_IN_TWO_WAYS, opens=AGAIN
    ),
    "another encoding": Case(
        OK + b"Transfer-Encoding: gzip\r\n" + HELLO, why="nobody asked for it", opens=(2, 1)
    ),
    "a bad size": Case(OK + CHUNKED + b"\r\nx\r\n", closes=True, opens=AGAIN),
    "a bad size later": Case(OK + CHUNKED + b"\r\n5\r\nhello\r\nx\r\n", closes=True, opens=AGAIN),
    "a negative size": Case(
        OK + CHUNKED + b"\r\n-5\r\nhello\r\n",
        closes=True,
        why="both refuse it, requests later",
        ours=Answer(200, {"transfer-encoding": "chunked"}, b"", whole=False),
        opens=AGAIN,
    ),
    "a chunk too long": Case(OK + CHUNKED + b"\r\n5\r\nhello!\r\n0\r\n\r\n", closes=True, opens=AGAIN),
    "surplus": Case(OK + HELLO + OK + HELLO, why=LEFTOVER, opens=(2, 1)),
    "surplus, nothing before": Case(
        OK + b"Content-Length: 0\r\n\r\nmore", why=LEFTOVER, opens=(2, 1)
    ),
    "surplus, chunked": Case(OK + CHUNKED + b"\r\n" + BODY + OK, why=LEFTOVER, opens=(2, 1)),
}  # fmt: skip


def asked_twice(
    make: Callable[[bool | str], Any], server: Server, verify: bool | str
) -> tuple[list[Answer], int]:
    """Read the same answer twice with a client. Return the answers and the number of connections."""
    before = server.so_far()
    client = make(verify)
    answers = []
    for _ in range(2):
        answers.append(client(server.url))
        if server.closes:
            server.all_closed()
    client.close()
    return answers, server.so_far() - before


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of requests, when its answers break off
@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_read_as_requests_reads_it(server: Server, certificate: Path, name: str) -> None:
    case = CASES[name]
    server.answer, server.closes, server.early = case.raw, case.closes, False
    ours, our_count = asked_twice(Lean, server, str(certificate))
    theirs, their_count = asked_twice(Stock, server, str(certificate))
    assert ours[0] == ours[1]
    assert (our_count, their_count) == case.opens
    if case.why and case.ours is not NONE:
        assert ours[0] == case.ours != theirs[0]
    elif case.why and case.opens == (2, 1) and ours[0] != NONE:
        assert ours[0] == theirs[0]
    elif case.why:
        assert ours[0] == NONE != theirs[0]
    else:
        assert ours == theirs


# ---------------------------------------------------------------- callers that are answered too early


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_an_answer_that_comes_before_the_request_was_read(server: Server, certificate: Path) -> None:
    """And the connection is then reset, with what is unread of the request."""
    server.answer = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n" + HELLO
    server.closes = server.early = True
    try:
        client = Lean()
        for size in (1000, 32 * 1024 * 1024):
            answer = client(server.url, b"x" * size)
            assert (answer.status, answer.body, answer.whole) == (413, b"hello", True)
            server.all_closed()
        client.close()
    finally:
        server.early = False


# ---------------------------------------------------------------- what is sent


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


# ---------------------------------------------------------------- connections


def test_a_connection_serves_many(server: Server, certificate: Path) -> None:
    server.answer, server.closes = OK + CHUNKED + b"\r\n" + BODY, False
    before = server.so_far()
    client = Lean(str(certificate))
    for _ in range(20):
        assert client(server.url).body == b"hello"
    client.close()
    assert server.so_far() - before == 1


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_late_bytes_are_not_the_next_answer(server: Server, monkeypatch: Any) -> None:
    """After the end of an answer, while its connection lies in the pool."""
    server.answer, server.closes = OK + HELLO, False
    before = server.so_far()
    client = Lean()
    assert client(server.url).body == b"hello"
    server._socks[-1].sendall(OK + b"Content-Length: 4\r\n\r\nevil")
    time.sleep(0.02)
    assert client(server.url).body == b"hello"
    client.close()
    assert server.so_far() - before == 2


@pytest.mark.parametrize("server", ["plain", "tls"], indirect=True)
@pytest.mark.parametrize(
    ("begun", "asked"), [(b"", 2), (b"H", 1), (OK[:-3], 1), (b"HTTP/1.1 100 Continue\r\n\r\n", 1)]
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_only_a_connection_that_said_nothing_was_stale(
    server: Server, certificate: Path, begun: bytes, asked: int, reset: bool
) -> None:
    """A request of which an answer has begun to come is not sent again."""
    server.answer, server.closes, server.early = OK + HELLO, False, False
    client = Lean(str(certificate))
    assert client(server.url).body == b"hello"
    server.heads.clear()
    server.answer, server.closes, server.early = begun, True, reset
    assert client(server.url) == NONE
    client.close()
    server.early = False
    assert len(server.heads) == asked


@pytest.mark.parametrize("server", ["plain", "tls"], indirect=True)
def test_connections_do_not_lie_idle_for_ever(server: Server, certificate: Path, monkeypatch: Any) -> None:
    """One burst must not cost descriptors here, and at the upstream, until the next."""
    monkeypatch.setattr(pool, "MOST_IDLE", 0.2)
    monkeypatch.setattr(pool, "BATCH", 2)
    server.answer, server.closes = OK + HELLO, False
    server.all_closed()
    before, client = server.closed, Lean(str(certificate))
    sources = [client.post(server.url, b"{}", {}) for _ in range(5)]
    for source in sources:
        assert source.read() == b"hello"
        source.close()
    deadline = time.monotonic() + SECONDS
    while server.closed < before + 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.closed == before + 5
    assert client(server.url).body == b"hello"
    client.close()


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_a_connection_that_is_used_does_not_age(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(pool, "MOST_IDLE", 1.0)
    server.answer, server.closes = OK + HELLO, False
    before, client = server.so_far(), Lean()
    for _ in range(8):
        assert client(server.url).body == b"hello"
        time.sleep(0.2)
    client.close()
    assert server.so_far() - before == 1


@pytest.mark.parametrize("server", ["plain"], indirect=True)
@pytest.mark.parametrize(("first", "then", "kept"), [(1, 3, 3), (3, 1, 1)])
def test_how_many_are_kept_can_change(server: Server, first: int, then: int, kept: int) -> None:
    server.answer, server.closes = OK + HELLO, False
    client = Lean()
    client.http.resize(first)
    assert client(server.url).body == b"hello"
    client.http.resize(then)
    sources = [client.post(server.url, b"{}", {}) for _ in range(3)]
    for source in sources:
        assert source.read() == b"hello"
        source.close()
    ((pool, _),) = client.http._adapter._known.values()
    assert pool.pool.qsize() == kept
    client.close()


class Pieces:
    """A socket that gives what it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self.sock: Any = self
        self.pieces = list(pieces)

    def recv(self, size: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@pytest.mark.parametrize("head", [b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n" * 2 + OK + HELLO])
def test_a_head_is_the_same_however_it_comes(head: bytes) -> None:
    for at in range(len(head) + 1):
        response = read_response(Pieces(*(piece for piece in (head[:at], head[at:]) if piece)))
        assert (response.status, response.headers) == (200, {"content-length": "5"})
        assert b"".join(iter(response.read1, b"")) == b"hello"


def test_a_head_in_many_pieces_takes_time_in_proportion() -> None:
    began = time.process_time()
    with pytest.raises(MalformedResponse):
        read_response(Pieces(OK, *[b"a: b\r\n" for _ in range(20_000)]))
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("at_once", [True, False])
def test_heads_before_the_answer_without_end_are_no_answer(at_once: bool) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\n"
    some, many = head * MAX_INTERIM, head * (MAX_INTERIM + 1)
    assert read_response(Pieces(some, OK + HELLO)).status == 200
    with pytest.raises(MalformedResponse):
        read_response(Pieces(*([many] if at_once else [head] * (MAX_INTERIM + 1)), OK + HELLO))


def test_a_response_that_is_given_up_before_the_pool_knows_of_it_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(OK + HELLO)
        wire = Pieces()
        wire.sock = ours
        response = read_response(wire)
        response.close()
        response.close()
        assert response.read1() == b""
        assert ours.fileno() == -1


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_a_pool_that_is_retired_keeps_no_connection(server: Server) -> None:
    """Idle connections close at once, those in use after their call. The pool still takes requests."""
    server.answer, server.closes = OK + CHUNKED + b"\r\n" + BODY, False
    client = Lean()
    busy = client.post(server.url, b"{}", {})
    assert client(server.url).body == b"hello"
    client.http.retire()
    deadline = time.monotonic() + SECONDS
    while server.opened - server.closed > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert server.opened - server.closed == 1
    assert drained(busy.response, busy.read, busy.release, busy.close).body == b"hello"
    assert client(server.url).body == b"hello"
    server.all_closed()
    assert server.opened == server.closed
    client.close()
