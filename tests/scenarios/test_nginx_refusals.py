"""Tests what nginx itself refuses, in the gateway's error format."""

from __future__ import annotations

import socket
import time

import pytest
from kit.gateways import KEY
from kit.nginx import Nginx, logged, refused
from kit.wire import ask, head, send_raw

pytestmark = pytest.mark.live


def test_a_missing_gateway_is_a_503(tmp_path):
    nginx = Nginx(tmp_path, f"unix:{tmp_path}/nobody.sock")
    try:
        answer = ask(nginx.port, "POST", "/v1/chat/completions", {})
    finally:
        nginx.stop()
    refused(answer, 503, "gateway_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert answer.error["type"] == "server_error"


def test_a_full_queue_is_refused_at_once(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "full.sock"))
        listener.listen(0)
        nginx = Nginx(tmp_path, f"unix:{tmp_path}/full.sock")
        try:
            with socket.create_connection(("127.0.0.1", nginx.port)) as waiting:
                waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                time.sleep(0.1)  # the request has taken the only place
                began = time.monotonic()
                refused(ask(nginx.port, "GET", "/"), 503, "gateway_unavailable")
                assert time.monotonic() - began < 3
        finally:
            nginx.stop()


def test_a_body_too_large_for_nginx_is_refused(nginx: Nginx):
    announced = head(nginx.port, "/v1/chat/completions", KEY, f"Content-Length: {(16 << 20) + 1}")
    refused(send_raw(nginx.port, announced), 413, "request_too_large")
    chunked = head(nginx.port, "/v1/chat/completions", KEY, "Transfer-Encoding: chunked")
    refused(send_raw(nginx.port, chunked + b"1000001\r\nx"), 413, "request_too_large")
    assert logged(nginx, "status", 413)["path"] == "/v1/chat/completions"


def test_a_body_too_large_for_the_gateway_is_refused(nginx: Nginx):
    answer = ask(nginx.port, "POST", "/v1/chat/completions", b"x" * 300_000, {"x-api-key": KEY})
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert "262144" in answer.error["message"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nLong: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/3.1\r\nHost: a\r\n\r\n", 505),
    ],
)
def test_a_request_that_is_not_http_is_refused(nginx: Nginx, sent: bytes, status: int):
    refused(send_raw(nginx.port, sent), status, "bad_request")


def test_plain_http_on_the_tls_port_is_refused(nginx: Nginx):
    refused(send_raw(nginx.tls_port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_request")


def test_the_plain_port_does_not_redirect(nginx: Nginx):
    answer = ask(nginx.plain_port, "POST", "/v1/chat/completions", {}, {"x-api-key": KEY})
    refused(answer, 403, "https_required")
