"""Tests which request bodies are refused, with which status and words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from io import BytesIO

import pytest
import responses
from flask.testing import FlaskClient
from gunicorn.http.errors import InvalidChunkSize
from kit.calls import AUTH, chat
from kit.planted import KEY
from kit.web_calls import OK, PATH, URL, BrokenInput, assert_refused, post

BAD_BODIES = {
    "empty": (b"", "invalid_json", None),
    "cut": (b'{"model": "llama", "messages": [', "invalid_json", None),
    "NaN": (b'{"model": "llama", "messages": [{"role": "user", "content": NaN}]}', "invalid_json", None),
    "Infinity": (b'{"model": "llama", "messages": [{"role": "u"}], "top_p": Infinity}', "invalid_json", None),
    "deep": (b"[" * 100_000, "invalid_json", None),
    "deep in a field": (b'{"model": "llama", "messages": ' + b"[" * 100_000, "invalid_json", None),
    "not an object": (b"[]", "invalid_json", None),
    "a string": (b'"llama"', "invalid_json", None),
    "not UTF-8": (b'{"model": "llama", "messages": [{"role": "\xff"}]}', "invalid_json", None),
    "UTF-16": ('{"model": "llama"}'.encode("utf-16"), "invalid_json", None),
    "byte order mark": (b'\xef\xbb\xbf{"model": "llama"}', "invalid_json", None),
    "lone surrogate": (b'{"model": "llama", "messages": [{"role": "\\ud800"}]}', "invalid_json", None),
    "trailing": (b'{"model": "llama"} x', "invalid_json", None),
    "no model": (b'{"messages": [{"role": "user"}]}', None, "model"),
    "model null": (b'{"model": null, "messages": [{"role": "user"}]}', None, "model"),
    "model a number": (b'{"model": 1, "messages": [{"role": "user"}]}', None, "model"),
    "model empty": (b'{"model": "", "messages": [{"role": "user"}]}', None, "model"),
    "model of control characters": (b'{"model": "a\\u0000b", "messages": [{"role": "u"}]}', None, "model"),
    "model too long": (b'{"model": "%s", "messages": [{"role": "u"}]}' % (b"x" * 257), None, "model"),
    "no messages": (b'{"model": "llama"}', None, "messages"),
    "messages null": (b'{"model": "llama", "messages": null}', None, "messages"),
    "messages empty": (b'{"model": "llama", "messages": []}', None, "messages"),
    "messages a string": (b'{"model": "llama", "messages": "hi"}', None, "messages"),
    "message a string": (b'{"model": "llama", "messages": ["hi"]}', None, "messages"),
    "message without a role": (b'{"model": "llama", "messages": [{"content": "hi"}]}', None, "messages"),
    "role a number": (b'{"model": "llama", "messages": [{"role": 1}]}', None, "messages"),
    "stream a string": (b'{"model": "llama", "messages": [{"role": "u"}], "stream": "yes"}', None, "stream"),
    "stream a number": (b'{"model": "llama", "messages": [{"role": "u"}], "stream": 1}', None, "stream"),
    "model twice": (b'{"model": "mock", "messages": [{"role": "u"}], "model": "llama"}', None, "model"),
    "model twice, once escaped": (
        b'{"model": "mock", "messages": [{"role": "u"}], "\\u006dodel": "llama"}', None, "model"),
    "model escaped in the middle": (
        b'{"mo\\u0064el": "mock", "messages": [{"role": "u"}], "model": "llama"}', None, "model"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_a_400_that_says_what_is_wrong(
    client: FlaskClient, upstream: responses.RequestsMock, name: str
) -> None:
    body, code, param = BAD_BODIES[name]
    assert assert_refused(post(client, body), 400, code)["param"] == param


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"model": "llama", "messages": [', "it ends in the middle of a value. Close every brace"),
        (b'{"model": "llama", "messages": "cut', "it ends in the middle of a value. Close every brace"),
        (b'{"model": "llama",}', "trailing comma in object (byte 18). Correct it there"),
        (b'{"model": llama}', "invalid character (byte 10). Correct it there"),
    ],
)
def test_invalid_json_says_what_to_correct(client: FlaskClient, body: bytes, words: str) -> None:
    assert words in assert_refused(post(client, body), 400, "invalid_json")["message"]


@pytest.mark.parametrize(
    ("path", "missing"),
    [("completions", "prompt"), ("embeddings", "input"), ("moderations", "input"), ("rerank", "query")],
)
def test_each_operation_has_its_own_required_fields(client: FlaskClient, path: str, missing: str) -> None:
    assert assert_refused(post(client, {"model": "llama"}, f"/v1/{path}"), 400, None)["param"] == missing


def test_a_nested_or_quoted_model_is_not_a_second_one(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.post(URL, json=OK)
    content = 'say "model" and \\u006dodel: {"model": "x", "model": "y"}'
    body = chat("llama", metadata={"model": "inner"}, tools=[{"model": "\u006dodel"}])
    body["messages"][0]["content"] = content
    assert post(client, body).status_code == 200
    assert json.loads(upstream.calls[0].request.body or b"") == body


def test_a_body_over_the_limit_is_a_413(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(max_body_bytes=100)
    assert_refused(post(client, b" " * 101), 413, "request_too_large")


def test_a_chunked_body_over_the_limit_is_a_413_and_not_cut(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(max_body_bytes=100)
    response = client.post(
        PATH,
        input_stream=BytesIO(b" " * 101),
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked", **AUTH},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert_refused(response, 413, "request_too_large")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidChunkSize(b"xyz"), 400, "incomplete_body"),
        (ConnectionResetError(), 400, "incomplete_body"),
        (TimeoutError(), 408, "request_timeout"),
    ],
)
def test_a_body_that_does_not_arrive(client: FlaskClient, error: Exception, status: int, code: str) -> None:
    response = client.post(
        PATH,
        headers={"Content-Type": "application/json", **AUTH},
        environ_overrides={"wsgi.input": BrokenInput(error), "CONTENT_LENGTH": "10"},
    )
    assert_refused(response, status, code)


def test_a_body_shorter_than_announced(client: FlaskClient) -> None:
    response = client.post(
        PATH,
        headers={"Content-Type": "application/json", **AUTH},
        environ_overrides={"wsgi.input": BytesIO(b"{}"), "CONTENT_LENGTH": "10"},
    )
    assert_refused(response, 400, "incomplete_body")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_another_content_type_is_a_415(client: FlaskClient, kind: str) -> None:
    assert_refused(post(client, chat(), Content_Type=kind), 415, "unsupported_media_type")


def test_a_compressed_body_is_understood(client: FlaskClient) -> None:
    body = gzip.compress(json.dumps(chat("mock")).encode())
    assert post(client, body, Content_Encoding="gzip").status_code == 200
    assert_refused(post(client, body[:-1], Content_Encoding="gzip"), 400, "invalid_compression")
    assert_refused(post(client, body, Content_Encoding="br"), 400, "invalid_compression")


def test_a_decompression_bomb_is_a_413(make_client: Callable[..., FlaskClient]) -> None:
    bomb = gzip.compress(b"{" + b" " * 100_000 + b"}")
    error = assert_refused(
        post(make_client(max_body_bytes=1000), bomb, Content_Encoding="gzip"), 413, "request_too_large"
    )
    assert "larger than the limit of 1000 bytes" in error["message"]


def test_an_unknown_encoding_is_a_415_that_names_the_known(client: FlaskClient) -> None:
    answer = post(client, chat(), Content_Encoding="compress")
    assert_refused(answer, 415, "unsupported_media_type")
    assert answer.headers["Accept-Encoding"] == "gzip, deflate, br, zstd"


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(
    "name",
    [
        *("X-API-Key", "api-key", "Content-Encoding", "x-request-id", "x-trace-id", "traceparent"),
        *("tracestate", "x-request-timeout", "x-stainless-read-timeout", "x-gateway-stream"),
        *("X-Request-Start", "Forwarded", "X-Forwarded-For", "Upgrade", "Sec-WebSocket-Key", "Origin"),
    ],
)
def test_an_empty_header_counts_as_missing(client: FlaskClient, name: str, empty: str) -> None:
    answer = post(client, chat("mock", stream=True), **{name: empty})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].strip()
    assert answer.headers["x-trace-id"].strip()


@pytest.mark.parametrize("authorization", ["", " ", "Bearer", "bearer ", "Bearer  "])
def test_an_empty_authorization_counts_as_missing(client: FlaskClient, authorization: str) -> None:
    answer = post(client, chat("mock"), Authorization=authorization, X_API_Key=KEY)
    assert answer.status_code == 200
    error = assert_refused(post(client, chat("mock"), Authorization=authorization), 401, "invalid_api_key")
    assert error["message"].startswith("No API key was given")


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16"), ("utf-32", "UTF-32")],
)
@pytest.mark.parametrize("content", ["Hello", "Grüße"])
def test_the_error_names_a_byte_order_mark(
    client: FlaskClient, mark: str, encoding: str, content: str
) -> None:
    body = json.dumps(chat("mock", user=content), ensure_ascii=False).encode(mark)
    error = assert_refused(post(client, body), 400, "invalid_json")
    assert f"byte order mark of {encoding} (" in error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("PUT", PATH),
        ("DELETE", PATH),
        ("OPTIONS", PATH),
        ("POST", "/v1/models"),
        ("POST", "/health"),
    ],
)
def test_another_method_is_a_405(client: FlaskClient, method: str, path: str) -> None:
    response = client.open(path, method=method, headers=AUTH)
    assert_refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"]
    assert not [name for name, _ in response.headers if name.lower().startswith("access-control")]
