"""Tests the application through Flask's client: calls, upstream failures, and the other routes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import AUTH, ROLE, chat, chunk, make_settings, sse
from kit.planted import KEY, UPSTREAM_KEY
from kit.web_calls import OK, URL, assert_refused, breakers, post

from flask_gateway import create_app
from flask_gateway.state.fallback import FallbackStore, UnavailableStore
from flask_gateway.state.memory import MemoryStore


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
    assert [key.partition(":")[0] for key in after[2:]] == ["wrong_keys"]
