"""Runs the shipped site in a real nginx: which requests it forwards, and how answers pass it."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event

import pytest
from kit.gateways import KEY
from kit.nginx import SHIPPED, Behind, Nginx, directive_of, logged, refused, replaced
from kit.servers import Gateway, Upstream, free_port
from kit.waiting import until
from kit.wire import TIMEOUT, ask, content, head, open_stream, send_raw

from flask_gateway.config.load import resolve
from flask_gateway.config.schema import Settings, Timeouts
from flask_gateway.model.call import MESSAGES_BODY

pytestmark = pytest.mark.live


SITE = (SHIPPED / "sites-available" / "flask-gateway").read_text()


@pytest.fixture(scope="module")
def _behind() -> Iterator[Behind]:
    server = Behind()
    yield server
    server.stop()


@pytest.fixture
def behind(_behind: Behind) -> Behind:
    _behind.reset()
    return _behind


@pytest.fixture(scope="module")
def before(_behind: Behind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An nginx in front of ``behind``."""
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), _behind.address)
    yield nginx
    nginx.stop()


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def directive(name: str) -> str:
    return directive_of(SITE, name)


def test_nginx_finds_nothing_wrong(nginx: Nginx):
    said = nginx.check().splitlines()
    assert len(said) == 2, said
    assert "syntax is ok" in said[0]
    assert "test is successful" in said[1]


def test_the_site_agrees_with_the_gateways_defaults():
    settings: Settings = resolve({}).settings
    sizes = (int(size) << 20 for size in re.findall(r"client_max_body_size ([0-9]+)m;", SITE))
    usual, messages, forms, chunked_forms = sizes
    assert usual == settings.max_body_bytes
    assert forms == chunked_forms == settings.max_upload_bytes
    assert messages == usual * MESSAGES_BODY
    assert int(directive("proxy_read_timeout").rstrip("s")) > Timeouts.within(10).total


# ---------------------------------------------------------------- requests that nginx forwards


def test_the_gateway_sees_the_forwarded_request(behind: Behind, before: Nginx):
    forged = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil",
        "Forwarded": "for=1.2.3.4",
        "X-Request-Start": "1",
        "Proxy": "http://evil",
        "TE": "trailers",
        "Upgrade": "h2c",
        "Connection": "upgrade, keep-alive",
        "Keep-Alive": "300",
        "Under_Score": "x",
        "traceparent": "kept",
        "Authorization": "Bearer kept",
    }
    assert ask(before.port, "POST", "/v1//chat/./completions?a=b", {"x": 1}, forged).status == 200
    (request,) = behind.seen
    assert request.startswith(b"POST /v1//chat/./completions?a=b HTTP/1.1\r\n")
    seen = headers_of(request)
    assert abs(float(seen.pop("x-request-start")) - time.time()) < TIMEOUT
    assert seen == {
        "host": "127.0.0.1",
        "content-length": "8",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "traceparent": "kept",
        "authorization": "Bearer kept",
    }


def test_a_chunked_body_arrives_with_a_length(behind: Behind, before: Nginx):
    chunked = head(before.port, "/v1//chat/./completions?a=%62", KEY, "Transfer-Encoding: chunked")
    answer = send_raw(before.port, chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    (request,) = behind.seen
    assert request.startswith(b"POST /v1//chat/./completions?a=%62 HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\nabcde")
    assert headers_of(request)["content-length"] == "5"
    assert "transfer-encoding" not in headers_of(request)


def test_nginx_sends_no_request_twice(behind: Behind, before: Nginx):
    behind.answer = b""  # the server closes without an answer
    refused(ask(before.port, "GET", "/v1/models"), 503, "gateway_unavailable")
    assert len(behind.seen) == 1


def test_nginx_closes_when_the_caller_leaves(behind: Behind, before: Nginx):
    left = Event()

    def wait_for_the_end(sock: socket.socket) -> None:
        if sock.recv(1) == b"":
            left.set()

    behind.answer, behind.then = b"", wait_for_the_end
    with socket.create_connection(("127.0.0.1", before.port)) as sock:
        sock.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not left.wait(0.1)
    assert left.wait(1)


# ---------------------------------------------------------------- responses

PIECE = b"data: 1\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 18\r\n"


def test_events_pass_one_by_one_when_the_gateway_says_so(behind: Behind, before: Nginx):
    """The server sends the second event only after the first has arrived."""
    arrived = Event()

    def second(sock: socket.socket) -> None:
        if arrived.wait(5):
            sock.sendall(PIECE)

    behind.answer, behind.then = HEAD + b"X-Accel-Buffering: no\r\n\r\n" + PIECE, second
    with open_stream(before.port, KEY, "m") as stream:
        events = stream.events()
        assert next(events)[1] == "1"
        arrived.set()
        assert next(events)[1] == "1"
    assert stream.headers["x-accel-buffering"] == "no", "another proxy before nginx has to know it too"


def test_nginx_buffers_an_answer_that_is_not_a_stream(behind: Behind, before: Nginx):
    """The gateway has sent a large answer completely before the caller reads any of it."""
    body = b"x" * 900_000
    done = Event()

    def last(sock: socket.socket) -> None:
        done.set()

    behind.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    behind.then = last
    with socket.create_connection(("127.0.0.1", before.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert done.wait(5)


def test_an_answer_cannot_control_nginx(behind: Behind, before: Nginx):
    orders = b"X-Accel-Redirect: /-/refused\r\nX-Accel-Limit-Rate: 1\r\nX-Accel-Expires: 9\r\n"
    behind.answer = behind.answer.replace(b"\r\n\r\n", b"\r\n" + orders + b"\r\n")
    answer = ask(before.port, "GET", "/")
    assert (answer.status, answer.body) == (200, b"{}")
    assert not any(name.startswith("x-accel") for name in answer.headers)


@pytest.mark.parametrize("status", [b"400 Bad Request", b"429 Too Many Requests", b"502 Bad Gateway"])
def test_the_gateways_own_errors_pass_unchanged(behind: Behind, before: Nginx, status: bytes):
    behind.answer = behind.answer.replace(b"200 OK", status)
    answer = ask(before.port, "GET", "/")
    assert (answer.status, answer.body) == (int(status[:3]), b"{}")


def test_a_stream_passes_nginx_and_the_gateway(nginx: Nginx, upstream: Upstream):
    with open_stream(nginx.port, KEY, "ok,tokens=3,pause=0.1") as stream:
        events = list(stream.events())
    assert content([data for _, data in events]) == "tok0 tok1 tok2 "
    assert events[-1][0] - events[0][0] > 0.2


METRICS = [
    "/metrics",
    "/metrics/",
    "/%6detrics",
    "/x/../metrics",
    "/./metrics?a=b",
    "//metrics",
    "///metrics",
    "/.//metrics",
    "/x/..//metrics",
    "/%2fmetrics",
    "/Metrics",
    "/metrics;a",
    "/metrics/x",
    "//%6Detrics",
]


@pytest.mark.parametrize("path", METRICS)
def test_metrics_are_not_public(behind: Behind, before: Nginx, path: str):
    chunked = {"x-api-key": KEY, "transfer-encoding": "chunked"}
    refused(ask(before.port, "GET", path, headers={"x-api-key": KEY}), 404, "unknown_url")
    refused(ask(before.port, "POST", path, b"0\r\n\r\n", headers=chunked), 404, "unknown_url")
    assert behind.seen == []


@pytest.mark.parametrize("path", ["/-/refused", "/-/chunked"])
def test_nginx_internal_paths_are_not_public(behind: Behind, before: Nginx, path: str):
    refused(ask(before.port, "GET", path), 404, "unknown_url")
    assert behind.seen == []


@pytest.mark.parametrize("path", METRICS)
def test_metrics_are_not_public_without_the_nginx_rule_either(nginx: Nginx, gateway: Gateway, path: str):
    """The gateway itself refuses a target that an nginx rule for ``/metrics`` may not match."""
    if path.partition("?")[0] != "/metrics":
        for port in (nginx.port, gateway.port):
            assert ask(port, "GET", path).status in (401, 404)
        assert b"gateway_requests" not in ask(gateway.port, "GET", path, headers={"x-api-key": KEY}).body


@pytest.mark.parametrize("header", ["Authorization: Bearer k", "X-API-Key: k", "api-key: k"])
def test_sequential_calls_of_one_caller_are_not_limited(behind: Behind, before: Nginx, header: str):
    many = 450
    line = f"{header}{many}\r\n".encode()
    with socket.create_connection(("127.0.0.1", before.port), TIMEOUT, ("127.0.0.8", 0)) as sock:
        sock.sendall((b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n") * many + b"GET / HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", received)[:many] == [b"200"] * many


def test_made_up_keys_do_not_evade_the_limit(tmp_path, _behind: Behind):
    """Each request has another key: then the limit by address applies."""
    burst = "limit_req zone=flask_gateway_address_requests burst=2000 nodelay;"
    few = {burst: burst.replace("2000", "20")}
    # At the shipped rate a slow machine never reaches the limit.
    slow = {"requests:10m rate=2000r/s": "requests:10m rate=1r/s"}
    nginx = Nginx(
        tmp_path, _behind.address, lambda site: replaced(site, few), lambda zones: replaced(zones, slow)
    )
    try:
        requests = [b"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: %d\r\n\r\n" % n for n in range(300)]
        with socket.create_connection(("127.0.0.1", nginx.port), TIMEOUT) as sock:
            sock.sendall(b"".join(requests) + b"GET / HTTP/1.0\r\n\r\n")
            received = b"".join(iter(lambda: sock.recv(65536), b""))
    finally:
        nginx.stop()
    assert b"HTTP/1.1 429" in received


def test_a_websocket_is_answered_at_once(nginx: Nginx, gateway: Gateway):
    """nginx removes Upgrade, and the gateway answers the remaining request."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x", "x-api-key": KEY}
    for port in (nginx.port, gateway.port):
        answer = ask(port, "GET", "/v1/responses", headers=upgrade)
        assert (answer.status, answer.error["code"]) == (426, "websocket_not_offered")
        assert answer.headers["upgrade"] == "HTTP/1.1"


def test_too_many_requests_from_one_address_are_refused(behind: Behind, before: Nginx):
    """From a separate address, so that no other test is limited."""
    many = 300
    with socket.create_connection(("127.0.0.1", before.port), TIMEOUT, ("127.0.0.9", 0)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * many + b"GET / HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    statuses = re.findall(rb"HTTP/1.1 (\d+)", received)
    assert len(statuses) == many + 1
    assert set(statuses) == {b"200", b"429"}
    assert statuses.count(b"200") >= 200
    assert received.count(b"Retry-After: 1\r\n") == received.count(b'"code":"rate_limit_exceeded"') > 0


def test_too_many_connections_from_one_address_are_refused(tmp_path):
    """Two hundred connections may wait for an answer. The next is refused at once."""
    rate = "limit_req zone=flask_gateway_requests burst=200 nodelay;"
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent, ExitStack() as stack:
        behind = f"127.0.0.1:{silent.getsockname()[1]}"
        nginx = Nginx(tmp_path, behind, lambda site: replaced(site, {rate: ""}))
        stack.callback(nginx.stop)
        for _ in range(200):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", nginx.port)))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert until(lambda: nginx.connections() >= 400)  # to the callers and to the gateway
        refused(ask(nginx.port, "GET", "/"), 429, "rate_limit_exceeded")


# ---------------------------------------------------------------- TLS and logs


def test_requests_pass_over_tls(nginx: Nginx):
    context = ssl.create_default_context(cafile=str(nginx.certificate))
    with (
        socket.create_connection(("127.0.0.1", nginx.tls_port), TIMEOUT) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.version() == "TLSv1.3"
        secure.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert secure.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_log_has_the_gateways_id_and_no_secret(nginx: Nginx, gateway: Gateway):
    secret = f"planted{free_port()}"
    answer = ask(nginx.port, "GET", f"/v1/models?key={secret}", headers={"x-api-key": KEY, "Referer": secret})
    line = logged(nginx, "request_id", answer.headers["x-request-id"])
    assert (line["path"], line["status"], line["peer"]) == ("/v1/models", 200, "127.0.0.1")
    assert secret not in nginx.log
    assert KEY not in nginx.log
