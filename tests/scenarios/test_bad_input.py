"""Sends invalid requests: each gets its 4xx in OpenAI's envelope, and none reaches the upstream."""

from __future__ import annotations

import gzip
import json
import socket

import pytest
from kit.gateways import KEY
from kit.servers import Gateway, Upstream
from kit.wire import Answer, head, send_raw

pytestmark = pytest.mark.live

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
LIMIT = 262144  # of the gateway fixture


@pytest.fixture(autouse=True)
def _upstream_is_not_called(upstream: Upstream):
    yield
    assert upstream.requests() == []


def refused(answer: Answer, status: int, code: str | None, param: str | None = None) -> None:
    """Assert that the refusal looks like one of the OpenAI API."""
    error = answer.error
    assert (answer.status, error["code"]) == (status, code), answer
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    if param:
        assert error["param"] == param
    assert answer.headers["x-gateway-error-origin"] == "gateway"
    assert answer.headers["x-request-id"]


def with_messages(messages: str, **more: object) -> bytes:
    rest = "".join(f",{json.dumps(name)}:{json.dumps(value)}" for name, value in more.items())
    return f'{{"model":"ok","messages":{messages}{rest}}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"model":"ok"', id="unfinished"),
        pytest.param(b'{"model":"ok"} {}', id="more after the end"),
        pytest.param(b"{'model':'ok'}", id="single quotes"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"model"', id="a string"),
        pytest.param(b"[" * 100_000, id="open brackets"),
        pytest.param(with_messages("[" * 100_000), id="open brackets in a field"),
        pytest.param(b'{"a":' * 40_000, id="open braces"),
        pytest.param(with_messages(json.dumps(HELLO))[:-1] + b',"temperature":NaN}', id="NaN"),
        pytest.param(with_messages(json.dumps(HELLO))[:-1] + b',"top_p":-Infinity}', id="Infinity"),
        pytest.param(b'{"model":"\xff\xfe"}', id="invalid UTF-8"),
        pytest.param(json.dumps({"model": "ok", "messages": HELLO}).encode("utf-16"), id="UTF-16"),
        pytest.param(json.dumps({"model": "ok", "messages": HELLO}).encode("utf-8-sig"), id="BOM"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(gateway: Gateway, body):
    refused(gateway.ask("POST", CHAT, body), 400, "invalid_json")


@pytest.mark.parametrize("tail", [b'"content":"\xc3\x28"', b'"content":"\xed\xa0\x80"', b'"x":"\xf8"'])
def test_invalid_utf_8_deep_inside_is_refused(gateway: Gateway, tail):
    body = b'{"model":"ok","messages":[{"role":"user",%b}]}' % tail
    refused(gateway.ask("POST", CHAT, body), 400, "invalid_json")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": HELLO}, "model"),
        ({"model": None, "messages": HELLO}, "model"),
        ({"model": 7, "messages": HELLO}, "model"),
        ({"model": ["ok"], "messages": HELLO}, "model"),
        ({"model": "", "messages": HELLO}, "model"),
        ({"model": "x" * 5000, "messages": HELLO}, "model"),
        ({"model": "a\r\nb", "messages": HELLO}, "model"),
        ({"model": "ok"}, "messages"),
        ({"model": "ok", "messages": None}, "messages"),
        ({"model": "ok", "messages": "Hello"}, "messages"),
        ({"model": "ok", "messages": {}}, "messages"),
        ({"model": "ok", "messages": []}, "messages"),
        ({"model": "ok", "messages": ["Hello"]}, "messages"),
        ({"model": "ok", "messages": [{"content": "Hello"}]}, "messages"),
        ({"model": "ok", "messages": [{"role": 1}]}, "messages"),
        ({"model": "ok", "messages": HELLO, "stream": "yes"}, "stream"),
        ({"model": "ok", "messages": HELLO, "stream": 1}, "stream"),
    ],
)
def test_missing_fields_and_wrong_types_are_refused(gateway: Gateway, body, param):
    refused(gateway.ask("POST", CHAT, body), 400, None, param)


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        ("completions", {"model": "ok"}, "prompt"),
        ("embeddings", {"model": "ok"}, "input"),
        ("moderations", {"model": "ok"}, "input"),
        ("rerank", {"model": "ok", "query": "a"}, "documents"),
        ("responses", {"input": "a"}, "model"),
    ],
)
def test_the_other_operations_check_their_fields(gateway: Gateway, operation, body, param):
    refused(gateway.ask("POST", f"/v1/{operation}", body), 400, None, param)


@pytest.mark.parametrize(
    "names",
    [
        ('"model":"ok"', '"model":"other"'),
        ('"model":"ok"', '"model":"ok"'),
        ('"model":"ok"', '"\\u006dodel":"other"'),
        ('"\\u006dodel":"ok"', '"model":"other"'),
        ('"\\u006Dodel":"ok"', '"m\\u006fdel":"other"'),
        ('"mode\\u006c":"ok"', '"model" :"other"'),
    ],
)
def test_a_model_named_twice_is_refused(gateway: Gateway, names):
    first, second = names
    body = f'{{{first},"messages":{json.dumps(HELLO)},{second}}}'.encode()
    refused(gateway.ask("POST", CHAT, body), 400, None, "model")


def test_a_content_length_over_the_limit_is_refused(gateway: Gateway):
    head_only = head(gateway.port, CHAT, KEY, f"Content-Length: {LIMIT + 1}")
    refused(send_raw(gateway.port, head_only), 413, "request_too_large")


def test_a_chunked_body_over_the_limit_is_refused(gateway: Gateway):
    body = with_messages(json.dumps([{"role": "user", "content": "x" * LIMIT}]))
    chunks = (
        b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:70000], body[70000:])) + b"0\r\n\r\n"
    )
    chunked = head(gateway.port, CHAT, KEY, "Transfer-Encoding: chunked")
    refused(send_raw(gateway.port, chunked + chunks), 413, "request_too_large")


@pytest.mark.parametrize(
    "chunks", [b"zz\r\nabc\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"-1\r\n\r\n", b"\r\n\r\n"]
)
def test_malformed_chunks_are_refused(gateway: Gateway, chunks):
    answer = send_raw(gateway.port, head(gateway.port, CHAT, KEY, "Transfer-Encoding: chunked") + chunks)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


def test_a_body_that_ends_too_early_is_refused(gateway: Gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as sock:
        sock.sendall(head(gateway.port, CHAT, KEY, "Content-Length: 100") + b'{"model":"ok"')
        sock.shutdown(socket.SHUT_WR)
        seen = b"".join(iter(lambda: sock.recv(65536), b""))
    assert seen.startswith(b"HTTP/1.1 400")
    assert b'"type":"invalid_request_error"' in seen


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_refused(gateway: Gateway, method):
    answer = gateway.ask(method, CHAT)
    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/circuit-breakers", "/v1/models/mock"])
def test_a_post_to_a_read_only_route_is_refused(gateway: Gateway, path):
    refused(gateway.ask("POST", path, {}), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_wrong_content_type_is_refused(gateway: Gateway, kind):
    answer = gateway.ask("POST", CHAT, with_messages(json.dumps(HELLO)), content_type=kind)
    refused(answer, 415, "unsupported_media_type")


def test_a_compressed_body_is_read(gateway: Gateway):
    body = gzip.compress(json.dumps({"model": "mock", "messages": HELLO}).encode())
    assert gateway.ask("POST", CHAT, body, content_encoding="gzip").status == 200
    refused(gateway.ask("POST", CHAT, b"\x1f\x8b", content_encoding="gzip"), 400, "invalid_compression")
    refused(gateway.ask("POST", CHAT, body, content_encoding="compress"), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v2/chat/completions",
        "/v1/%00",
        "/v1/%ff",
        "/console",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_a_404(gateway: Gateway, method, path):
    refused(gateway.ask(method, path, b"{}"), 404, "unknown_url")


@pytest.mark.parametrize("path", ["//v1/circuit-breakers", "/v1//circuit-breakers", "/circuit-breakers"])
def test_a_path_that_a_proxy_may_guard_has_one_spelling(gateway: Gateway, path):
    refused(gateway.ask("GET", path), 404, "unknown_url")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"NONSENSE", 400),
        (b"GET / HTTP/9.9", 400),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nLong: " + b"x" * 9000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3,3x", 400),
    ],
)
def test_a_request_that_is_not_http_gets_the_error_envelope(
    gateway: Gateway, request_line: bytes, status: int
):
    answer = send_raw(gateway.port, request_line + b"\r\n\r\n")
    assert (answer.status, answer.error["code"]) == (status, "bad_request")
    assert answer.headers["x-request-id"]
    assert answer.headers["x-gateway-error-origin"] == "gateway"
