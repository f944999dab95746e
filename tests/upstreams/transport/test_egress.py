"""Proxies that fail in every way, names that lead to metadata services, and what `doctor` finds."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kit.calls import make_call
from kit.exchanges import Bench
from kit.proxies import ProxyServer, UnixServer
from kit.tls import TLSRelay, make_certificate
from kit.waiting import until

from flask_gateway.cli.doctor.finding import Level
from flask_gateway.cli.doctor.upstreams import SOON, expiry, reach
from flask_gateway.config.client_certificates import not_after
from flask_gateway.config.load import load
from flask_gateway.config.schema import ClientCertificate, Timeouts, UpstreamSettings
from flask_gateway.model.errors import (
    GatewayError,
    UpstreamMisconfigured,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from flask_gateway.upstreams import open_upstream
from flask_gateway.upstreams.transport import egress
from flask_gateway.upstreams.transport.tls_trust import egress_of

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}'
NOT_FOUND = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
Script = Callable[[socket.socket], Any]


class Server:
    """Runs a script for each connection to a port of this machine."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            self._script(sock)

    def hold(self, sock: socket.socket) -> None:
        self._over.wait(20)

    def stop(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


Serve = Callable[[Script], Server]


@pytest.fixture(scope="module", autouse=True)
def _threads_end() -> Iterator[None]:
    """Leave no socket to the tests that count them."""
    before = threading.active_count()
    yield
    until(lambda: threading.active_count() <= before, 3)


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def answer(sock: socket.socket) -> None:
    """Read one request with a body, and answer it."""
    data = b""
    while not data.endswith(b"}") and (more := sock.recv(65536)):
        data += more
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)


def reply(data: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(data)
        if data:
            sock.recv(65536)

    return script


def upstream(url: str, **environ: str) -> UpstreamSettings:
    return load({"GATEWAY_UPSTREAMS": f"a={url}", **environ}).upstreams[0]


def send(settings: UpstreamSettings, connect: float = 5.0, calls: int = 1) -> bytes:
    """The answers of the upstream. Asserts that nothing is left in the reactor."""
    bench = Bench()
    made: Any = open_upstream(settings, bench.http, Timeouts(connect=connect))
    try:
        return b"".join(b"".join(made.send(make_call()).prime()) for _ in range(calls))
    finally:
        bench.close()


def refused(settings: UpstreamSettings, connect: float = 5.0) -> GatewayError:
    with pytest.raises(GatewayError) as error:
        send(settings, connect)
    return error.value


# ---------------------------------------------------------------- proxies at fault

SOCKS = b"\x05\x00\x05%b\x00\x01" + bytes(6)


@pytest.mark.parametrize(
    ("scheme", "data", "error", "words"),
    [
        ("http", b"", UpstreamUnreachable, "its proxy closed the connection"),
        ("http", b"SSH-2.0-OpenSSH\r\n\r\n", UpstreamMisconfigured, "does not speak HTTP"),
        ("http", b"HTTP/1.1 407 No\r\n\r\n", UpstreamMisconfigured, "other credentials"),
        ("http", b"HTTP/1.1 403 No\r\n\r\n", UpstreamMisconfigured, "does not allow it (403)"),
        ("http", b"HTTP/1.1 502 No\r\n\r\n", UpstreamUnreachable, "by its proxy (502)"),
        ("http", b"HTTP/1.1 302 No\r\nLocation: http://x\r\n\r\n", UpstreamUnreachable, "(302)"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\nmore", UpstreamMisconfigured, "more than an answer"),
        ("http", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200_000, UpstreamMisconfigured, "speak HTTP"),
        ("socks5h", b"", UpstreamUnreachable, "its proxy closed the connection"),
        ("socks5h", b"HTTP/1.1 400 Bad\r\n\r\n", UpstreamMisconfigured, "does not speak SOCKS 5"),
        ("socks5h", b"\x05\xff", UpstreamMisconfigured, "asks for credentials"),
        ("socks5h", SOCKS % b"\x05", UpstreamUnreachable, "refused the connection"),
        ("socks5h", SOCKS % b"\x09", UpstreamUnreachable, "reply 9"),
    ],
)
def test_a_proxy_at_fault(
    serve: Serve, scheme: str, data: bytes, error: type[GatewayError], words: str
) -> None:
    settings = upstream(
        "https://model.example", GATEWAY_PROXY=f"{scheme}://127.0.0.1:{serve(reply(data)).port}"
    )
    found = refused(settings)
    assert (type(found), words in found.message) == (error, True), found.message
    assert reach(settings, 5.0).level is Level.FAIL


def test_a_proxy_that_is_silent_costs_the_connect_timeout(serve: Serve) -> None:
    servers: list[Server] = []
    servers.append(serve(lambda sock: servers[0].hold(sock)))
    settings = upstream("https://model.example", GATEWAY_PROXY=f"http://127.0.0.1:{servers[0].port}")
    began = time.monotonic()
    found = refused(settings, connect=0.3)
    assert isinstance(found, UpstreamTimeout)
    assert (found.clock, time.monotonic() - began >= 0.3) == ("connect", True)


def test_a_proxy_that_does_not_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for url in ("https://model.example", "http://model.example"):
        settings = upstream(url, GATEWAY_PROXY=f"http://127.0.0.1:{port}")
        found = refused(settings)
        assert isinstance(found, UpstreamUnreachable)
        assert "its proxy could not be connected to" in found.message
        assert "its proxy http://127.0.0.1" in reach(settings, 5.0).what


# ---------------------------------------------------------------- the egress filter


def names(monkeypatch: pytest.MonkeyPatch, **addresses: str) -> None:
    original = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in addresses:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (addresses[host], port))]
        return original(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("upstream_scheme", ["http", "https"])
def test_no_name_leads_to_a_metadata_service(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, scheme: str, upstream_scheme: str
) -> None:
    names(monkeypatch, metadata="169.254.169.254")
    monkeypatch.setattr(egress, "LOOK_UP", 20.0)  # a busy machine must not skip the check
    server = serve(answer)
    settings = upstream(f"{upstream_scheme}://metadata", GATEWAY_PROXY=f"{scheme}://127.0.0.1:{server.port}")
    assert "metadata service" in refused(settings).message
    assert server.connections == 0


def test_a_resolver_that_hangs_does_not_hold_a_call_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    hang, original = threading.Event(), socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "model.example":
            hang.wait(20)
            raise socket.gaierror(-3, "Temporary failure")
        return original(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    settings = upstream("http://model.example", GATEWAY_PROXY=f"http://127.0.0.1:{serve(answer).port}")
    assert b"fine" in send(settings)
    hang.set()


def test_socks5_is_asked_for_the_address(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    names(monkeypatch, model="127.0.0.1")
    proxy, server = ProxyServer(socks=True), serve(answer)
    try:
        url = proxy.url.replace("socks5h", "socks5")
        assert b"fine" in send(upstream(f"http://model:{server.port}", GATEWAY_PROXY=url))
        assert proxy.asked == [f"SOCKS 127.0.0.1:{server.port}"]
    finally:
        proxy.stop()


# ---------------------------------------------------------------- without a proxy


def test_a_direct_way_is_what_it_was() -> None:
    """No proxy, no client certificate, no socket: the pools are those of urllib3, keyed by the context."""
    assert egress_of(upstream("http://model.example")) is None
    context = egress_of(upstream("https://model.example"))
    assert isinstance(context, ssl.SSLContext)
    assert context is egress_of(upstream("https://other.example"))


def test_equal_settings_share_their_connections() -> None:
    proxy = {"GATEWAY_PROXY": "http://proxy:1"}
    one, two = (egress_of(upstream("https://model.example", **proxy)) for _ in range(2))
    assert one is two
    assert one is not egress_of(upstream("https://model.example", GATEWAY_PROXY="http://proxy:2"))


def test_a_unix_socket_keeps_its_connection(serve: Serve, tmp_path: Path) -> None:
    def twice(sock: socket.socket) -> None:
        answer(sock)
        answer(sock)

    server = serve(twice)
    unix = UnixServer(tmp_path / "m.sock", server.port)
    try:
        assert send(upstream(unix.url), calls=2).count(b"fine") == 2
        assert server.connections == 1
    finally:
        unix.stop()


# ---------------------------------------------------------------- doctor


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    make_certificate(folder)
    return folder


def test_doctor_at_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    url = f"http+unix://{str(path).replace('/', '%2F')}"
    assert "there is no socket" in reach(upstream(url), 5.0).what
    path.write_text("")
    assert "is no socket" in reach(upstream(url), 5.0).what
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert "Connection refused" in reach(upstream(url), 5.0).what
        listener.listen()
        assert reach(upstream(url), 5.0).level is Level.OK


def test_doctor_names_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway connects to the other one (RFC 8305), so it is no failure."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as closed:
        closed.bind(("127.0.0.2", 0))  # refuses, for nobody listens
        places = [closed.getsockname(), listener.getsockname()]
        infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: infos)
        found = reach(upstream("http://two.addresses.test"), 5.0)
        assert (found.level, "127.0.0.2 did not answer" in found.what) == (Level.WARN, True)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: infos[:1])
        assert reach(upstream("http://two.addresses.test"), 5.0).level is Level.FAIL


def test_doctor_says_when_a_client_certificate_expires(pair: Path) -> None:
    certificate = upstream("https://m.example", GATEWAY_CLIENT_CERT=str(pair / "both.pem")).client_cert
    assert isinstance(certificate, ClientCertificate)
    end = not_after(certificate)
    for now, level, words in (
        (end - SOON - timedelta(days=1), Level.OK, "valid until"),
        (end - timedelta(days=1), Level.WARN, "expires soon"),
        (end, Level.FAIL, "it expired"),
        (datetime(2099, 1, 1, tzinfo=UTC), Level.FAIL, "it expired"),
    ):
        finding = expiry(certificate, now)
        assert (finding.level, words in finding.what) == (level, True), finding


def test_doctor_shows_the_client_certificate(serve: Serve, pair: Path, tmp_path: Path) -> None:
    """In TLS 1.3 a server refuses a client's certificate after the handshake."""
    make_certificate(tmp_path)
    strict = TLSRelay(pair / "both.pem", serve(reply(NOT_FOUND)).port, clients=pair / "certificate.pem")
    trust = {"GATEWAY_CA_FILE": str(pair / "certificate.pem")}
    try:
        for shown, fits in (("", False), (pair, True), (tmp_path, False)):
            own = {"GATEWAY_CLIENT_CERT": f"{shown}/both.pem"} if shown else {}
            finding = reach(upstream(strict.url, **trust, **own), 5.0)
            assert (finding.level is Level.OK) is fits, finding
            assert fits or "client certificate" in finding.what
    finally:
        strict.stop()


@pytest.mark.parametrize(("socks", "tls"), [(False, False), (True, False), (False, True)])
def test_doctor_goes_through_the_proxy(serve: Serve, pair: Path, socks: bool, tls: bool) -> None:
    server = serve(reply(NOT_FOUND))
    secure = TLSRelay(pair / "both.pem", server.port)
    proxy = ProxyServer(socks=socks, credentials="u:p", certificate=pair / "both.pem" if tls else None)
    environ = {"GATEWAY_CA_FILE": str(pair / "certificate.pem"), "GATEWAY_UPSTREAM_A_PROXY": proxy.url}
    try:
        for url in (secure.url, f"http://model.example:{server.port}"):
            finding = reach(upstream(url, **environ), 5.0)
            assert finding.level is Level.OK, finding
            wrong = {"GATEWAY_UPSTREAM_A_PROXY": proxy.url.replace("u:p", "u:wrong")}
            finding = reach(upstream(url, **{**environ, **wrong}), 5.0)
            assert (finding.level, "credentials" in finding.what) == (Level.FAIL, True), finding
            assert "wrong" not in str(finding)
    finally:
        proxy.stop()
        secure.stop()
