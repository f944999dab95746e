"""Tests requests to the whole application: refusals, their errors, calls, and the log."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from gunicorn.http.errors import InvalidChunkSize
from kit.calls import AUTH, ROLE, chat, chunk, make_settings, sse
from kit.planted import KEY, UPSTREAM_KEY
from kit.stores import HandClock
from werkzeug.test import TestResponse

from flask_gateway import create_app
from flask_gateway.config.schema import (
    CandidateSettings,
    KeySettings,
    ModelSettings,
    Secret,
    UpstreamSettings,
)
from flask_gateway.state.fallback import FallbackStore, UnavailableStore
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.hooks import waited_in_front

URL = "http://llama.test/v1/chat/completions"
PATH = "/v1/chat/completions"
OK = {"id": "1", "object": "chat.completion", "model": "llama", "choices": [{"index": 0}]}


@pytest.fixture
def upstream() -> Iterator[responses.RequestsMock]:
    """A request that no test has registered fails the test."""
    with responses.RequestsMock() as mock:
        yield mock


def post(client: FlaskClient, body: Any, path: str = PATH, **headers: str) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **AUTH}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, data=data, headers=given)


def assert_refused(response: TestResponse, status: int, code: str | None) -> dict[str, Any]:
    assert response.status_code == status, response.data
    assert response.content_type == "application/json"
    assert response.headers["x-request-id"]
    assert response.headers["x-gateway-error-origin"] == "gateway"
    error = response.json["error"]  # type: ignore[index]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code, error
    assert error["message"].endswith(".")
    return dict(error)


# ------------------------------------------------------------------ bad input

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


class BrokenInput:
    """A body whose read raises an exception."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int = -1) -> bytes:
        raise self.error


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


@pytest.mark.parametrize("path", ["/v1", "/v2/chat/completions", "/v1/x", "/circuit-breakers", "/v1/é", "/é"])
def test_an_unknown_path_is_a_404(client: FlaskClient, path: str) -> None:
    assert_refused(client.get(path, headers=AUTH), 404, "unknown_url")


def test_an_unexpected_exception_is_a_500_without_details(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("flask_gateway.web.inference.parse_fields", broken)
    response = post(client, chat())
    assert_refused(response, 500, "internal_error")
    assert b"secret" not in response.data


# ------------------------------------------------------------------ authentication


@pytest.mark.parametrize("path", [PATH, "/v1/models", "/v1/circuit-breakers", "/nothing", "/v1/embeddings"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_every_route_needs_a_key(client: FlaskClient, path: str, method: str) -> None:
    response = client.open(path, method=method)
    assert_refused(response, 401, "invalid_api_key")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_no_route_is_public_that_is_not_meant_to_be(app: Flask, client: FlaskClient) -> None:
    public = set()
    for rule in app.url_map.iter_rules():
        for method in rule.methods or ():
            path = rule.rule.replace("<path:name>", "x").replace("<path:model>", "x")
            answer = client.open(path, method=method, environ_base={"REMOTE_ADDR": "192.0.2.1"})
            if answer.status_code != 401:
                public.add(rule.rule)
    public_ones = {"/health", "/health/liveliness", "/readyz", "/health/readiness", "/openapi.json"}
    public_ones |= {"/", "/api/hello"}  # to HEAD alone
    assert public == public_ones


def test_the_key_is_checked_before_the_body_is_read(client: FlaskClient) -> None:
    response = client.post(PATH, environ_overrides={"wsgi.input": BrokenInput(AssertionError("read"))})
    assert_refused(response, 401, "invalid_api_key")


def test_two_keys_that_differ_are_a_400(client: FlaskClient) -> None:
    assert_refused(post(client, chat(), X_API_Key="other-key"), 400, "ambiguous_credentials")


def test_a_key_may_be_limited_to_some_models(client: FlaskClient) -> None:
    headers = {"Authorization": "Bearer other-key"}
    assert (
        assert_refused(post(client, chat("llama"), **headers), 403, "model_not_allowed")["param"] == "model"
    )
    assert post(client, chat("mock"), **headers).status_code == 200
    assert [m["id"] for m in client.get("/v1/models", headers=headers).json["data"]] == ["mock"]  # type: ignore[index]
    assert client.get("/v1/models/llama", headers=headers).status_code == 404


# ------------------------------------------------------------------ calls


def test_an_answer_is_returned_unchanged(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    said = '{"id":"1", "choices": [ ], "model":"llama-3"}'
    upstream.post(
        URL,
        body=said,
        content_type="application/json",
        headers={
            "Set-Cookie": "a=b",
            "Server": "evil",
            "X-Accel-Redirect": "/x",
            "x-ratelimit-limit-requests": "9",
        },
    )
    response = post(
        client, chat(), Cookie="caller=1", X_Forwarded_Host="evil.test", OpenAI_Organization="org"
    )
    assert response.get_data(as_text=True) == said
    assert {name for name, _ in response.headers} == {
        "Content-Type",
        "Content-Length",
        "x-request-id",
        "x-trace-id",
        "x-gateway-upstream",
        "x-gateway-attempts",
        "x-gateway-retries",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    }
    assert response.headers["x-gateway-upstream"] == "llama"
    assert response.headers["x-ratelimit-limit-requests"] == "60"
    sent = upstream.calls[0].request
    assert KEY not in str(sent.headers)
    assert "caller" not in str(sent.headers)
    assert sent.headers["Authorization"] == f"Bearer {UPSTREAM_KEY}"


def test_a_model_is_renamed_for_its_upstream(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, json=OK)
    post(client, chat("fast"))
    assert json.loads(upstream.calls[0].request.body or b"")["model"] == "llama-3-8b-instruct"


def test_unknown_fields_pass_untouched(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, json=OK)
    odd = b'[1.0, 1e5, 12345678901234567890, "\\u00e9"]'
    post(client, b'{"odd": %s, "model": "llama", "messages": [{"role":"user"}]}' % odd)
    sent = upstream.calls[0].request.body
    assert isinstance(sent, bytes)
    assert odd in sent


def test_ids_are_passed_on(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, json=OK)
    response = post(client, chat(), X_Request_ID="my-request", X_Trace_ID="my-trace")
    assert (response.headers["x-request-id"], response.headers["x-trace-id"]) == ("my-request", "my-trace")
    sent = upstream.calls[0].request.headers
    assert (sent["x-request-id"], sent["x-trace-id"]) == ("my-request", "my-trace")


def test_a_stream_is_passed_on_event_by_event(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    said = sse(ROLE, chunk("a"), chunk("b"), chunk(finish="stop"))
    upstream.post(URL, body=said, content_type="text/event-stream")
    response = post(client, chat(stream=True))
    assert response.data == said
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert "Content-Length" not in response.headers
    assert response.headers["x-ratelimit-remaining-requests"] == "59"


def test_a_cut_stream_ends_with_an_error_and_without_done(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.post(URL, body=sse(chunk("a"), done=False), content_type="text/event-stream")
    response = post(client, chat(stream=True))
    events = response.data.strip().split(b"\n\n")
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["code"] == "upstream_stream_cut"
    assert b"[DONE]" not in response.data
    assert breakers(client)["llama"]["failures"] == 1


@pytest.mark.parametrize("path", ["completions", "embeddings", "responses", "moderations", "rerank"])
def test_the_same_handler_serves_every_operation(
    client: FlaskClient, upstream: responses.RequestsMock, path: str
) -> None:
    said = {"object": "list", "data": [], "choices": [], "results": [], "output": []}
    upstream.post(f"http://llama.test/v1/{path}", json=said)
    body = {"model": "llama", "input": "x", "prompt": "x", "query": "q", "documents": ["d"]}
    assert post(client, body, f"/v1/{path}").json == said


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
        ("completions", {"prompt": "Hello"}),
        ("embeddings", {"input": "Hello"}),
        ("responses", {"input": "Hello"}),
        ("moderations", {"input": "Hello"}),
        ("rerank", {"query": "q", "documents": ["a", "b"]}),
    ],
)
def test_the_mock_answers_every_operation(client: FlaskClient, path: str, fields: dict[str, Any]) -> None:
    response = post(client, {"model": "mock", **fields}, f"/v1/{path}")
    assert response.status_code == 200, response.data
    assert response.headers["x-gateway-upstream"] == "mock"


# ------------------------------------------------------------------ upstream failures


def breakers(client: FlaskClient) -> dict[str, Any]:
    listed = client.get("/v1/circuit-breakers", headers=AUTH).json
    return {breaker["upstream"]: breaker for breaker in listed["data"] if "model" not in breaker}  # type: ignore[index]


def test_a_failing_upstream_is_a_502_and_its_circuit_opens_after_five(
    client: FlaskClient, upstream: responses.RequestsMock, clock: HandClock
) -> None:
    upstream.post(URL, status=502, body="<html>stack trace at /srv/llama.py</html>")
    for _ in range(5):
        response = post(client, chat())
        assert response.status_code == 502
        assert response.headers["x-gateway-error-origin"] == "upstream"
        assert response.headers["x-gateway-upstream"] == "llama"
        assert b"srv" not in response.data
    refused = post(client, chat())
    assert_refused(refused, 503, "upstream_unavailable")
    assert (refused.headers["Retry-After"], refused.headers["x-should-retry"]) == ("5", "false")
    assert b"tried again in 30 s" in refused.data
    assert refused.headers["x-gateway-upstream"] == "llama"
    assert len(upstream.calls) == 5
    assert breakers(client)["llama"] == {
        "upstream": "llama",
        "state": "OPEN",
        "failures": 5,
        "retry_after": 30.0,
    }
    assert breakers(client)["mock"]["state"] == "CLOSED"

    clock.advance(30)
    upstream.replace(responses.POST, URL, json=OK)
    assert post(client, chat()).status_code == 200
    assert breakers(client)["llama"] == {
        "upstream": "llama",
        "state": "CLOSED",
        "failures": 0,
        "retry_after": None,
    }


def test_the_upstreams_error_for_a_bad_request_is_returned(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    said = {
        "message": "Too long.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    upstream.post(URL, status=400, json={"error": said})
    for _ in range(6):
        response = post(client, chat())
        assert (response.status_code, response.json) == (400, {"error": said})
        assert response.headers["x-gateway-error-origin"] == "upstream"
    assert breakers(client)["llama"]["failures"] == 0


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_of_ours_is_not_the_callers_fault(
    client: FlaskClient, upstream: responses.RequestsMock, status: int
) -> None:
    upstream.post(URL, status=status, json={"error": {"message": f"bad key {UPSTREAM_KEY}"}})
    response = post(client, chat())
    assert (response.status_code, response.json["error"]["code"]) == (502, "upstream_auth_failed")  # type: ignore[index]
    assert UPSTREAM_KEY.encode() not in response.data


def test_a_refused_credential_is_shown_and_logged_without_it(
    client: FlaskClient, upstream: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.post(URL, status=401, json={"error": {"message": f"bad key {UPSTREAM_KEY}"}})
    assert [post(client, chat()).status_code for _ in range(3)] == [502] * 3
    assert breakers(client)["llama"] == {
        "upstream": "llama",
        "state": "CLOSED",
        "failures": 0,
        "retry_after": None,
        "credential_refused": True,
    }
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "'llama'" in warning
    assert "401" in warning
    assert UPSTREAM_KEY not in warning
    upstream.replace(responses.POST, URL, json=OK)
    assert post(client, chat()).status_code == 200
    assert "credential_refused" not in breakers(client)["llama"]


def test_a_429_of_the_upstream_is_passed_on_and_pauses_it(
    client: FlaskClient, upstream: responses.RequestsMock, clock: HandClock
) -> None:
    upstream.post(
        URL, status=429, json={"error": {"message": "m", "code": "slow"}}, headers={"Retry-After": "7"}
    )
    response = post(client, chat())
    assert (response.status_code, response.json["error"]["code"]) == (429, "slow")  # type: ignore[index]
    assert (response.headers["Retry-After"], response.headers["retry-after-ms"]) == ("7", "7000")
    assert post(client, chat()).json["error"]["code"] == "upstream_rate_limited"  # type: ignore[index]
    assert len(upstream.calls) == 1
    clock.advance(8)
    post(client, chat())
    assert len(upstream.calls) == 2


def test_the_status_reports_the_state_store(make_client: Callable[..., FlaskClient]) -> None:
    primary, local = UnavailableStore("it is gone"), MemoryStore()
    broken = create_app(make_settings(), FallbackStore(primary, local)).test_client()
    assert post(broken, chat("mock")).headers["x-ratelimit-remaining-requests"] == "59"
    for client, expected in (
        (make_client(), {"store": "shared", "degraded": False}),
        (broken, {"store": "shared", "degraded": True, "reason": "it is gone"}),
    ):
        told = client.get("/v1/circuit-breakers", headers=AUTH).json
        assert told["state"] == expected  # type: ignore[index]
        assert told["streams"] == {"live": 0}  # type: ignore[index]


# ------------------------------------------------------------------ the rate limit


def test_every_response_has_the_limit_headers(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(rate_limit_per_minute=2)
    answers = [
        post(client, b"{"),
        client.get("/nothing", headers=AUTH),
        client.get("/v1/models", headers=AUTH),
        post(client, chat("mock")),
        post(client, chat("mock", stream=True)),
    ]
    remaining = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert remaining == ["2", "2", "2", "1", "0"]
    refused = post(client, chat("mock"))
    assert_refused(refused, 429, "rate_limit_exceeded")
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["Retry-After"] == "60"
    assert refused.headers["retry-after-ms"] == "60000"
    assert post(client, chat("mock"), Authorization="Bearer other-key").status_code == 200


def test_without_a_limit_there_are_no_limit_headers(make_client: Callable[..., FlaskClient]) -> None:
    response = post(make_client(rate_limit_per_minute=0), chat("mock"))
    assert not [name for name, _ in response.headers if name.startswith("x-ratelimit")]


# ------------------------------------------------------------------ other routes


def test_an_unknown_model_is_a_404(client: FlaskClient) -> None:
    assert assert_refused(post(client, chat("gpt-4o")), 404, "model_not_found")["param"] == "model"


def test_models_are_listed(client: FlaskClient) -> None:
    listed = client.get("/v1/models", headers=AUTH).json
    assert listed["object"] == "list"  # type: ignore[index]
    assert listed["models"] == []  # type: ignore[index]  # what Codex reads
    assert [m["id"] for m in listed["data"]] == ["bare", "llama", "mock", "fast"]  # type: ignore[index]
    assert client.get("/v1/models/fast", headers=AUTH).json == {
        "id": "fast", "object": "model", "created": 1767225600, "owned_by": "llama",
    }  # fmt: skip
    assert_refused(client.get("/v1/models/no/such", headers=AUTH), 404, "model_not_found")


def test_health_needs_no_key_and_touches_nothing(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    response = client.get("/health")
    assert (response.status_code, response.json) == (200, {"status": "ok"})
    assert response.headers["x-request-id"]


def test_unauthenticated_requests_leave_no_state(
    make_client: Callable[..., FlaskClient], store: MemoryStore
) -> None:
    client = make_client(default_upstream="mock")
    post(client, chat("mock"))
    post(client, chat("mock"), Authorization="Bearer other-key")
    before = sorted(key for key, _ in store.scan(""))
    for number in range(300):
        client.get(f"/v1/models/{number}", headers={"x-api-key": f"stranger-{number}"})
        client.get(f"/{number}")
        if number < 50:
            post(client, chat(f"random-model-{number}"))
    after = sorted(key for key, _ in store.scan(""))
    assert after[:2] == before == ["limit:team-a", "limit:team-b"]
    # Their wrong keys are counted in one entry.
    assert [key.partition(":")[0] for key in after[2:]] == ["strikes"]


# ------------------------------------------------------------------ the log


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_request_is_logged_in_one_line(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    post(client, chat("mock"), X_Request_ID="r1", X_Trace_ID="t1")
    assert post(client, chat("mock", stream=True), X_Request_ID="r2").data
    post(client, b"{", X_Request_ID="r3")
    client.get("/v1/models", headers={"x-request-id": "r4"})
    client.get("/health")
    logged = lines(capsys)
    assert [(line["request_id"], line["status"]) for line in logged] == [
        ("r1", 200),
        ("r2", 200),
        ("r3", 400),
        ("r4", 401),
    ]
    first = logged[0]
    assert (first["trace_id"], first["key"], first["model"], first["upstream"]) == (
        "t1",
        "team-a",
        "mock",
        "mock",
    )
    assert first["outcome"] == "success"
    assert (first["upstream_model"], first["attempts"]) == ("mock", "mock:200:0.00s")
    assert first["completion_tokens"] > 0
    assert 0 <= first["overhead_seconds"] <= first["first_byte_seconds"] <= first["duration_seconds"]
    assert [line.get("stream") for line in logged] == [None, True, None, None]
    assert [line.get("code") for line in logged] == [None, None, "invalid_json", "invalid_api_key"]


def test_no_secret_and_no_prompt_is_logged(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    body = chat("mock")
    body["messages"][0]["content"] = "planted-prompt"
    post(client, body)
    client.get("/x", headers={"X-API-Key": "planted-wrong-key"})
    client.get("/v1/models?key=planted-query", headers=AUTH)
    said = capsys.readouterr()
    assert "planted" not in said.err + said.out


def test_prompts_are_logged_if_the_setting_is_on(
    make_client: Callable[..., FlaskClient], capsys: pytest.CaptureFixture[str]
) -> None:
    for switch, seen in ((True, '[{"role":"user","content":"Hello"}]'), (False, None)):
        post(make_client(log_prompts=switch), chat("mock"))
        (line,) = lines(capsys)
        assert (line.get("prompt") or "").replace(" ", "") == (seen or "")


def test_text_for_people_stays_on_one_line(
    make_client: Callable[..., FlaskClient], capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_client(log="text")
    client.get("/v1/%0Aforged%20line", headers=AUTH)
    (line,) = capsys.readouterr().err.splitlines()
    assert "status=404" in line
    assert r"'/v1/\nforged line'" in line


@pytest.mark.parametrize(
    ("start", "peer", "waited"),
    [
        ("1700000000.500", "127.0.0.1", 1.5),
        ("t=1700000000.500", "", 1.5),
        ("1700000000", None, 2.0),
        ("1699999990.000", "::1", 4.0),  # longer than we have been there
        ("1700000003.000", "127.0.0.1", 0.0),  # from the future
        ("1700000000.500", "10.0.0.7", 0.0),  # another machine's clock
        ("170000000", "127.0.0.1", 0.0),
        ("soon", "127.0.0.1", 0.0),
        ("", "127.0.0.1", 0.0),
        (None, "127.0.0.1", 0.0),
    ],
)
def test_the_wait_between_proxy_and_gateway_is_measured(
    start: str | None, peer: str | None, waited: float
) -> None:
    assert waited_in_front(start, peer, now=1700000002.0, began=1699999998.0) == pytest.approx(waited)


# ------------------------------------------------------------------ wrong keys


def test_wrong_metrics_keys_are_counted_and_right_ones_always_pass(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(metrics_digest=sha256(b"figures").digest(), failed_keys_per_minute=3)
    figures = {"X-API-Key": "figures"}
    assert client.get("/metrics", headers=figures).status_code == 200
    statuses = [client.get("/metrics", headers={"X-API-Key": f"guess-{n}"}).status_code for n in range(5)]
    assert statuses == [401] * 3 + [429] * 2
    assert client.get("/metrics", headers=figures).status_code == 200
    assert client.get("/v1/models", headers=AUTH).status_code == 200
    # A request without a key is not counted.
    assert client.get("/v1/models").status_code == 401
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("forwarded", ["6.6.6.6, 203.0.113.9", "unknown", None])
def test_wrong_keys_through_a_proxy_that_sends_no_address_block_nobody(
    make_client: Callable[..., FlaskClient], forwarded: str | None
) -> None:
    client = make_client(failed_keys_per_minute=3)
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    for number in range(9):
        guess = client.get(
            "/v1/models",
            headers={"X-API-Key": f"guess-{number}", **headers},
            environ_base={"REMOTE_ADDR": ""},
        )
        assert guess.status_code == 401
        assert guess.headers["x-gateway-address"] == "unknown"
    right = client.get("/v1/models", headers={**AUTH, **headers}, environ_base={"REMOTE_ADDR": ""})
    assert right.status_code == 200


def test_an_unlisted_model_is_shown_if_a_call_would_reach_it(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(default_upstream="bare")
    model = client.get("/v1/models/gpt-4o", headers=AUTH).json
    assert model == {"id": "gpt-4o", "object": "model", "created": 1767225600, "owned_by": "bare"}
    narrow = {"Authorization": "Bearer other-key"}
    assert_refused(client.get("/v1/models/gpt-4o", headers=narrow), 404, "model_not_found")


def test_a_providers_name_is_listed_as_a_model_only_if_it_is_one(
    make_client: Callable[..., FlaskClient],
) -> None:
    def listed(**own: ModelSettings) -> list[str]:
        provider = UpstreamSettings(name="openai", url="https://api.test/v1", api_key=Secret(UPSTREAM_KEY))
        mock = UpstreamSettings(name="mock", url="mock://local")
        client = make_client(
            upstreams=(provider, mock), models=tuple(own.values()), default_upstream="openai"
        )
        return [one["id"] for one in client.get("/v1/models", headers=AUTH).json["data"]]  # type: ignore[index]

    assert listed() == ["mock"]
    tiers = ((CandidateSettings(upstream="openai", model="gpt-4o"),),)
    assert listed(a=ModelSettings(name="gpt-4o", tiers=tiers)) == ["mock", "gpt-4o"]
    assert listed(a=ModelSettings(name="openai", tiers=tiers)) == ["mock", "openai"]


@pytest.mark.parametrize("named", [{}, {"model": None}])
def test_a_moderation_without_a_model_goes_to_the_default_upstream(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock, named: dict[str, None]
) -> None:
    upstream.post("http://bare.test/v1/moderations", json={"id": "m", "model": "x", "results": [{}]})
    client = make_client(default_upstream="bare")
    assert post(client, {"input": "Hello", **named}, path="/v1/moderations").status_code == 200
    sent = json.loads(upstream.calls[0].request.body)  # type: ignore[union-attr, arg-type]
    assert sent == {"input": "Hello", "model": "omni-moderation-latest"}
    narrow = "Bearer other-key"
    refused = post(client, {"input": "Hello"}, path="/v1/moderations", Authorization=narrow)
    assert_refused(refused, 403, "model_not_allowed")
    assert_refused(post(client, {"messages": [{}], **named}), 400, None)


# ------------------------------------------------------------------ the public development key


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("127.0.0.1", None, 200),
        ("127.8.8.8", None, 200),
        ("::1", None, 200),
        ("::ffff:127.0.0.1", None, 200),
        ("", None, 200),  # a Unix socket
        ("127.0.0.1", "127.0.0.1", 200),
        ("203.0.113.9", None, 401),
        ("10.0.0.1", None, 401),
        ("2001:db8::1", None, 401),
        ("203.0.113.9", "127.0.0.1", 401),
        ("127.0.0.1", "203.0.113.9", 401),
        ("127.0.0.1", "127.0.0.1, 203.0.113.9", 401),
        ("", "203.0.113.9", 401),
    ],
)
@pytest.mark.parametrize("header", ["X-API-Key", "api-key", "Authorization"])
def test_the_dev_key_is_accepted_from_this_machine_only(
    make_client: Callable[..., FlaskClient], peer: str, forwarded: str | None, status: int, header: str
) -> None:
    dev = KeySettings(id="dev", digest=sha256(b"dev-key").digest())
    own = KeySettings(id="own", digest=sha256(KEY.encode()).digest())
    client = make_client(keys=(dev, own))
    more = {"X-Forwarded-For": forwarded} if forwarded else {}
    environ = {"REMOTE_ADDR": peer}
    given = {header: "Bearer dev-key" if header == "Authorization" else "dev-key"}
    answer = client.get("/v1/models", headers=given | more, environ_base=environ)
    assert answer.status_code == status
    if status == 401:
        assert "GATEWAY_API_KEYS" in assert_refused(answer, 401, "invalid_api_key")["message"]
    assert client.get("/v1/models", headers=AUTH | more, environ_base=environ).status_code == 200
