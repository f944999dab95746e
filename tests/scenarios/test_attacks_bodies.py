"""Attacks with headers and bodies: S6, S8 to S13, S22, S26 of docs/security.md."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
import zlib
from collections.abc import Callable
from functools import partial

import brotli
import pytest
from kit.gateways import KEY
from kit.process_memory import MIB, cost_to
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import bearer, head, send_header_lines, send_raw
from kit.zstd_module import zstd

pytestmark = pytest.mark.live


CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
BODY = json.dumps({"model": "ok", "messages": HELLO}).encode()
DEFAULT_LIMIT = 16 * MIB  # of a body


# ---------------------------------------------------------------- S6, S26: header injection, ids


@pytest.mark.parametrize(
    "name", ["x-request-id", "x-trace-id", "traceparent", "tracestate", "x-request-timeout"]
)
@pytest.mark.parametrize(
    "value",
    [b"a\xff\xfe", b"a\x7f", b"a%0d%0aSet-Cookie:x", b"x" * 8000, b"a\tb", "ü€".encode(), b'"};alert(1)'],
)
def test_s6_s26_no_header_value_injects_a_header(port: int, upstream: Upstream, name, value):
    answer = send_header_lines(port, bearer(KEY), name.encode() + b": " + value)
    assert answer.status in (200, 400)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.headers["x-request-id"])
    assert answer.headers["x-request-id"].encode() != value
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "value", [b"a\r\nX-Injected: 1", b"a\nX-Injected: 1", b"a\rX-Injected: 1", b"a\0b", b"x" * MIB]
)
def test_s6_s26_an_id_with_a_line_end_or_a_megabyte_is_replaced(port: int, value: bytes):
    answer = send_header_lines(port, bearer(KEY), b"x-request-id: " + value)
    assert answer.status in (200, 400, 431)
    assert "x-injected" not in answer.headers
    if answer.status == 200:
        assert answer.headers["x-request-id"] != "a\r\nX-Injected: 1"


@pytest.mark.parametrize("model", ["a\r\nb", "a\0b", "a\x7fb", "\ud800", "é\nSet-Cookie: x"])
def test_s6_a_model_name_with_a_line_end_is_refused(gateway: Gateway, upstream: Upstream, model: str):
    answer = gateway.chat(model)
    assert answer.status == 400
    assert upstream.requests() == []


# ---------------------------------------------------------------- S8 to S12, S22: bodies


COMPRESSED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=1),
    "zstd": zstd.compress,
}


def too_large(way: str) -> tuple[tuple[str, ...], bytes]:
    size = DEFAULT_LIMIT + 1
    text = b'{"model":"ok","messages":[{"role":"user","content":"' + b"x" * size
    if way == "told":
        return (f"Content-Length: {len(text)}",), text
    if way == "chunked":
        chunks = b"".join(b"10000\r\n%b\r\n" % text[at : at + 65536] for at in range(0, size - 65536, 65536))
        return ("Transfer-Encoding: chunked",), chunks + b"20000\r\n" + b"x" * 131072 + b"\r\n0\r\n\r\n"
    if way in COMPRESSED:
        bomb = COMPRESSED[way](text * 2)
        return (f"Content-Encoding: {way}", f"Content-Length: {len(bomb)}"), bomb
    return ("Content-Length: 99999999999999999999",), b"{}"  # a false length


@pytest.mark.parametrize(
    ("way", "status"), [("told", 413), ("chunked", 413), ("lie", 413), *((way, 413) for way in COMPRESSED)]
)
def test_s8_a_body_that_is_too_large_is_refused(target: Gateway, upstream: Upstream, way: str, status: int):
    lines, body = too_large(way)
    with cost_to(target) as cost:
        answer = send_raw(target.port, head(target.port, CHAT, KEY, *lines) + body)
    assert answer.status == status
    assert cost.memory < 2 * DEFAULT_LIMIT
    assert upstream.requests() == []


# Functions: the bodies are made when they are needed, not when the tests are collected.
BOMBS: dict[str, Callable[[], bytes]] = {
    "a million brackets": lambda: b"[" * 1_000_000,
    "a million brackets in a field": lambda: b'{"model":"ok","messages":[],"x":' + b"[" * 1_000_000,
    "depth": lambda: b'{"model":"ok","messages":[{"role":"u"}],"x":' + b"[" * 65 + b"]" * 65 + b"}",
    "a million names": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}",
    "messages": lambda: json.dumps({"model": "ok", "messages": HELLO * 4097}).encode(),
    "ten megabytes of text": lambda: b'{"model":"ok","messages":"' + b"x" * 10_000_000 + b'"}',
    "escapes": lambda: b'{"\\u006d":"' + b"\\u006d" * 1_000_000 + b'"}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_s9_decompression_bombs_are_refused(target: Gateway, upstream: Upstream, name: str):
    body = BOMBS[name]()
    with cost_to(target) as cost:
        answer = target.ask("POST", CHAT, body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert cost.cpu <= 0.1
    assert upstream.requests() == []


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "top_logprobs"])
@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "1e999", "9" * 5000, "-0", "true", '"5"', "1.5", "[]", "9" * 16, "\\u0031", "1e2"],
)
def test_s10_absurd_numbers_are_refused(gateway: Gateway, upstream: Upstream, name: str, number: str):
    body = f'{{"model":"ok","messages":{json.dumps(HELLO)},"{name}": {number} }}'
    answer = gateway.ask("POST", CHAT, body.encode())
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert upstream.requests() == []


@pytest.mark.parametrize("number", ["1e999", "-1e400", "9" * 400, "5e-1e5"])
@pytest.mark.parametrize("place", ['"x":{}', '"metadata":{{"a":[{}]}}', '"\\u006dax":{}'])
def test_s10_absurd_numbers_are_refused_anywhere_in_the_body(
    gateway: Gateway, upstream: Upstream, number: str, place: str
):
    body = f'{{"model":"ok","messages":{json.dumps(HELLO)},{place.format(number)}}}'
    assert gateway.ask("POST", CHAT, body.encode()).status == 400
    assert upstream.requests() == []


@pytest.mark.parametrize("count", ["1", "0", "-1", "null", "131072"])
def test_s10_ordinary_numbers_pass(gateway: Gateway, upstream: Upstream, count: str):
    body = f'{{"model":"ok","messages":{json.dumps(HELLO)},"max_tokens": {count} }}'
    assert gateway.ask("POST", CHAT, body.encode()).status == 200
    assert json.loads(upstream.last()["body"])["max_tokens"] == json.loads(count)


@pytest.mark.parametrize("names", [("forbidden", "mock"), ("mock", "forbidden")])
@pytest.mark.parametrize("second", ['"model"', '"\\u006dodel"', '"mode\\u006C"'])
def test_s11_a_forbidden_model_next_to_an_allowed_one_is_refused(
    strict: Gateway, upstream: Upstream, names, second: str
):
    body = f'{{"model":"{names[0]}","messages":{json.dumps(HELLO)},{second}:"{names[1]}"}}'.encode()
    assert strict.ask("POST", CHAT, body, x_api_key="key-narrow").status == 400
    assert upstream.requests() == []


@pytest.mark.parametrize("chain", [["forbidden"], ["mock", "forbidden"], ["scripted/ok", "mock/x"]])
def test_s11_a_forbidden_model_in_the_callers_fallbacks_is_refused(
    strict: Gateway, upstream: Upstream, chain: list[str]
):
    answer = strict.chat("mock", fallbacks=chain, headers={"x_api_key": "key-narrow"})
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert upstream.requests() == []


@pytest.mark.parametrize(
    "body",
    [
        BODY.replace(b"Hello", b"\\ud800"),
        BODY.replace(b"Hello", b"\\udc00\\ud800"),
        BODY.replace(b"Hello", b"\xed\xa0\x80"),
        BODY.replace(b"Hello", b"\xc0\xaf"),
        BODY.replace(b"Hello", b"\xff"),
        BODY.replace(b"ok", b"\\ud800"),
        BODY.replace(b"Hello", b"\0"),
        b"\xef\xbb\xbf" + BODY,
        BODY.decode().encode("utf-16"),
        BODY.decode().encode("utf-32"),
        BODY.decode().encode("utf-16-le"),
        BODY.decode().encode("utf-7").replace(b"{", b"+AHs-"),
    ],
)
def test_s12_only_utf_8_is_accepted(gateway: Gateway, upstream: Upstream, body: bytes):
    answer = gateway.ask("POST", CHAT, body)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert upstream.requests() == []


@pytest.mark.parametrize(
    ("method", "kind", "status"),
    [("POST", "text/plain", 415), ("POST", "application/xml", 415), ("PUT", "application/json", 405)],
)
def test_s22_a_refusal_comes_before_the_body_is_read(gateway: Gateway, method, kind, status):
    first = f"{method} {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {kind}\r\n"
    begun = time.monotonic()
    answer = send_raw(gateway.port, f"{first}Content-Length: 100000\r\n\r\n".encode())
    assert answer.status == status
    assert time.monotonic() - begun < 2


def test_s13_half_requests_do_not_harm_other_callers(target: Gateway):
    """Connections that send a byte and wait take threads; those who ask are served meanwhile."""
    waiting = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(6)]
    try:
        for sock in waiting:
            sock.sendall(b"G")
        assert {target.chat("ok").status for _ in range(20)} == {200}
    finally:
        for sock in waiting:
            sock.close()
    assert until(lambda: target.ask("GET", "/health").status == 200)
