"""Tests Anthropic's Messages API: what the upstream gets, what the caller gets, and errors in its words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import responses
from flask.testing import FlaskClient
from kit.calls import AUTH, single_candidate
from kit.planted import KEY, UPSTREAM_KEY
from werkzeug.test import TestResponse

from flask_gateway.config.schema import ModelSettings, Secret, UpstreamSettings
from flask_gateway.model.quirks import Quirks, UserIds

URL = "http://claude.test/v1/messages"
SPARE = "http://spare.test/v1/messages"
RECORDED = sorted((Path(__file__).parents[1] / "golden/claude-code").glob("*.json"))
BODY = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 2},
}


def event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
OPENING = event({"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 3}}})
OPENING += event({"type": "ping"})
BEGUN = OPENING + event({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}})
BEGUN += event({"type": "content_block_delta", "index": 0, "delta": {"text": "Hello"}})
STREAM = BEGUN + event(
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
)
STREAM += event({"type": "message_stop"})


@pytest.fixture
def claude(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_claude(make_client)


def make_claude(make_client: Callable[..., FlaskClient], **changes: Any) -> FlaskClient:
    """A client of a gateway with two Anthropic upstreams behind one model, and one of OpenAI's."""
    key = Secret(UPSTREAM_KEY)
    first, second = single_candidate("claude", "claude-opus-5-5"), single_candidate("spare", "opus")
    models = [ModelSettings(name="claude", tiers=(first, second))]
    models.append(ModelSettings(name="llama", tiers=(single_candidate("llama", "llama-3"),)))
    models.append(ModelSettings(name="either", tiers=(single_candidate("llama", "l") + first,)))
    upstreams = (
        UpstreamSettings(name="claude", url="http://claude.test/v1", api_key=key, kind="anthropic"),
        UpstreamSettings(name="spare", url="http://spare.test/v1", api_key=key, kind="vllm"),
        UpstreamSettings(name="llama", url="http://llama.test/v1"),
    )
    return make_client(**{"models": tuple(models), "upstreams": upstreams, **changes})


def ask(client: FlaskClient, body: Any = BODY, path: str = "/v1/messages", **headers: str) -> TestResponse:
    return client.post(path, json=body, headers={**AUTH, **headers})


def assert_error(answer: TestResponse, status: int, kind: str) -> dict[str, Any]:
    """The fields of an error in Anthropic's words."""
    assert answer.status_code == status
    body: dict[str, Any] = answer.json or {}
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["request_id"] == answer.headers["request-id"]
    error: dict[str, Any] = body["error"]
    return error


# ---------------------------------------------------------------- what the upstream gets


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_turn_arrives_value_for_value(
    claude: FlaskClient, upstream: responses.RequestsMock, recorded: Path
) -> None:
    turn = json.loads(recorded.read_text())
    path, body = turn["path"], turn["body"]
    sent_headers = {name.lower(): value for name, value in turn["headers"]}
    anthropic = {name: value for name, value in sent_headers.items() if name.startswith("anthropic-")}
    count = "count_tokens" in path
    url = f"{URL}/count_tokens?beta=true" if count else f"{URL}?beta=true"
    if body.get("stream"):
        upstream.post(url, body=STREAM, content_type="text/event-stream")
    else:
        upstream.post(url, json={"input_tokens": 5} if count else ANSWER)
    raw = json.dumps({**body, "model": "claude", "fallbacks": "default", "unknown": {"a": [1, 1.0]}})
    anthropic["anthropic-beta"] += ",beta-of-the-future"
    headers = {**anthropic, "x-api-key": KEY, "x-claude-code-session-id": "s", "cookie": "c=1"}
    answer = claude.post(path, data=raw, content_type="application/json", headers=headers)
    assert answer.status_code == 200
    assert not body.get("stream") or answer.data == STREAM
    request = upstream.calls[0].request
    assert request.url == url
    spaced = json.loads(request.body or b"", object_pairs_hook=list)
    if recorded.stem == "12-after-unsigned-thinking":  # Anthropic refuses it
        assert '"signature": ""' in raw
        assert b'"signature":' not in (request.body or b"").replace(b" ", b"")
        return
    expected = json.loads(raw.replace('"claude"', '"claude-opus-5-5"', 1), object_pairs_hook=list)
    assert sorted(spaced, key=str) == sorted(expected, key=str)
    for name, value in anthropic.items():
        assert request.headers[name] == value
    assert request.headers["x-api-key"] == UPSTREAM_KEY
    assert not {"authorization", "cookie", "x-claude-code-session-id"} & set(map(str.lower, request.headers))


def test_values_keep_their_bytes(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, json=ANSWER)
    thinking = b'[{"role":"user","content":[{"type":"thinking","signature":"a\\/b\\u0041==", "n":1.0e2}]} ]'
    raw = b'{"model":"claude","max_tokens":0,"messages":%b,"x":[ 1.50 ]}' % thinking
    answer = claude.post("/v1/messages", data=raw, content_type="application/json", headers=AUTH)
    assert answer.status_code == 200
    sent = upstream.calls[0].request.body
    assert isinstance(sent, bytes)
    assert thinking in sent
    assert b"[ 1.50 ]" in sent


@pytest.mark.parametrize("version", ["2026-10-21", None])
def test_the_version_and_the_credential(
    claude: FlaskClient, upstream: responses.RequestsMock, version: str | None
) -> None:
    upstream.post(
        URL, json=ANSWER, headers={"request-id": "req_up", "anthropic-ratelimit-requests-limit": "9"}
    )
    answer = ask(claude, **({"anthropic-version": version} if version else {}))
    assert answer.json == ANSWER
    assert upstream.calls[0].request.headers["anthropic-version"] == (version or "2023-06-01")
    assert answer.headers["request-id"] == "req_up"
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "60"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "59"
    assert answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_another_kind_gets_its_key_as_bearer(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, status=503)
    upstream.post(SPARE, json=ANSWER)
    assert ask(claude).json == ANSWER
    headers = upstream.calls[-1].request.headers
    assert headers["Authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert "x-api-key" not in headers


def test_the_callers_own_chain_is_in_a_header(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, status=529, json={"type": "error", "error": {"type": "overloaded_error"}})
    answer = ask(claude, **{"x-gateway-fallbacks": ""})
    assert_error(answer, 529, "overloaded_error")
    assert_error(ask(claude, **{"x-gateway-fallbacks": "a," * 9}), 400, "invalid_request_error")


@pytest.mark.parametrize("value", ["é", "x" * 9000])
def test_headers_are_bounded(claude: FlaskClient, value: str) -> None:
    error = assert_error(ask(claude, **{"anthropic-beta": value}), 400, "invalid_request_error")
    assert error["param"] == "anthropic-beta"


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
@pytest.mark.parametrize("user_ids", list(UserIds))
def test_the_callers_user_id(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock, kind: str, user_ids: UserIds
) -> None:
    only = UpstreamSettings(
        name="claude", url="http://claude.test/v1", kind=kind, quirks=Quirks(user_ids=user_ids)
    )
    client = make_client(upstreams=(only,), models=(), default_upstream="claude")
    said = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    if kind == "anthropic":
        upstream.post(URL, json=ANSWER)
    else:
        upstream.post("http://claude.test/v1/chat/completions", json={"choices": [said]})
    assert ask(client, {**BODY, "metadata": {"user_id": "device"}}).status_code == 200
    sent = json.loads(upstream.calls[0].request.body or b"")
    found = sent["metadata"]["user_id"] if kind == "anthropic" else sent.get("user")
    own = "device" if kind == "anthropic" or user_ids is UserIds.PASSED else None
    assert found == ("team-a" if user_ids is UserIds.REPLACE else own)


# ---------------------------------------------------------------- which upstream


def test_upstreams_of_the_callers_dialect_come_first(
    claude: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.post(URL, json=ANSWER)
    assert ask(claude, {**BODY, "model": "either"}).json == ANSWER
    upstream.post("http://llama.test/v1/chat/completions", json={"choices": []})
    body = {"model": "either", "messages": [{"role": "user", "content": "Hello"}]}
    assert ask(claude, body, "/v1/chat/completions").status_code == 200
    route = claude.get("/v1/routes/either", headers=AUTH).json
    assert route is not None
    first, second = route["candidates"]
    assert "chat/completions" in first["operations"]
    assert second["operations"] == ["messages", "messages/count_tokens"]


# ---------------------------------------------------------------- errors


def test_a_refusal_keeps_its_bytes(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    words = b'{ "type":"error", "error":{"type":"invalid_request_error","message":"no","deep":{"a":[1]}},'
    words += b' "request_id":"req_up"}'
    upstream.post(URL, status=400, body=words, headers={"request-id": "req_up"})
    answer = ask(claude)
    assert (answer.status_code, answer.data) == (400, words)
    assert answer.headers["request-id"] == "req_up"
    assert answer.headers["x-gateway-error-origin"] == "upstream"


def test_a_refusal_of_another_shape_is_worded(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, status=400, json={"error": {"message": "no such field"}})
    assert assert_error(ask(claude), 400, "invalid_request_error")["message"] == "no such field"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (429, "rate_limit_error", "This organization has reached its monthly spend limit."),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    ],
)
def test_an_account_without_credit_is_not_asked_again(
    claude: FlaskClient, upstream: responses.RequestsMock, status: int, kind: str, words: str
) -> None:
    said = {"type": "error", "error": {"type": kind, "message": words}}
    upstream.post(URL, status=status, json=said)
    upstream.post(SPARE, json=ANSWER)
    assert ask(claude).json == ANSWER
    assert ask(claude).json == ANSWER
    assert [call.request.url for call in upstream.calls] == [URL, SPARE, SPARE]


def test_a_pause_passes(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    said = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    for url in (URL, SPARE):
        upstream.post(url, status=429, json=said, headers={"retry-after": "20"})
    answer = ask(claude)
    assert (answer.status_code, answer.json) == (429, said)
    assert int(answer.headers["retry-after"]) >= 1


def test_our_own_refusals_are_in_anthropics_words(make_client: Callable[..., FlaskClient]) -> None:
    client = make_claude(make_client, rate_limit_per_minute=1)
    nobody = client.post("/v1/messages", json=BODY)
    assert_error(nobody, 401, "authentication_error")
    missing = assert_error(ask(client, {**BODY, "model": "x"}), 404, "not_found_error")
    assert missing["code"] == "model_not_found"
    assert_error(ask(client, {"model": "claude", "messages": [{}]}), 400, "invalid_request_error")
    late = ask(client)
    assert_error(late, 429, "rate_limit_error")
    assert int(late.headers["retry-after"]) > 0
    assert late.headers["anthropic-ratelimit-requests-remaining"] == "0"
    different = {"x-api-key": "another"}
    assert_error(ask(client, **different), 400, "invalid_request_error")
    assert_error(client.get("/v1/messages", headers=AUTH), 405, "invalid_request_error")
    without = {name: value for name, value in BODY.items() if name != "max_tokens"}
    assert assert_error(ask(client, without), 400, "invalid_request_error")["param"] == "max_tokens"


# ---------------------------------------------------------------- streams


def test_a_stream_passes_byte_for_byte(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(f"{URL}?beta=true", body=STREAM, content_type="text/event-stream")
    answer = ask(claude, {**BODY, "stream": True}, "/v1/messages?beta=true&x=1")
    assert answer.data == STREAM
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_stream_fails_over_before_its_first_content(
    claude: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.post(URL, body=OPENING + event(OVERLOADED), content_type="text/event-stream")
    upstream.post(SPARE, body=STREAM, content_type="text/event-stream")
    assert ask(claude, {**BODY, "stream": True}).data == STREAM


def test_a_buffered_stream_hides_a_cut(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, body=BEGUN, content_type="text/event-stream")
    upstream.post(SPARE, body=STREAM, content_type="text/event-stream")
    assert ask(claude, {**BODY, "stream": True}, **{"x-gateway-stream": "whole"}).data == STREAM


def test_a_cut_is_an_error_event(claude: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, body=BEGUN, content_type="text/event-stream")
    seen = ask(claude, {**BODY, "stream": True}).data
    assert seen.startswith(BEGUN)
    assert b"event: error\n" in seen
    assert b"message_stop" not in seen


# ---------------------------------------------------------------- counting and models


def test_counting_leaves_the_window_alone(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock
) -> None:
    client = make_claude(make_client, rate_limit_per_minute=20)
    upstream.post(f"{URL}/count_tokens", json={"input_tokens": 5})
    counts = [ask(client, path="/v1/messages/count_tokens") for _ in range(26)]
    assert [answer.json for answer in counts] == 26 * [{"input_tokens": 5}]
    upstream.post(URL, json=ANSWER)
    assert ask(client).headers["anthropic-ratelimit-requests-remaining"] == "19"


@pytest.mark.parametrize("status", [400, 404, 501])
def test_tokens_that_an_upstream_does_not_count_are_estimated(
    claude: FlaskClient, upstream: responses.RequestsMock, status: int
) -> None:
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": "not here"}}
    upstream.post(f"{URL}/count_tokens", status=status, json=said)
    answer = ask(claude, path="/v1/messages/count_tokens")
    assert (answer.status_code, answer.headers["x-gateway-estimated"]) == (200, "true")
    assert answer.json is not None
    assert answer.json["input_tokens"] > 0
    assert answer.headers["x-gateway-upstream"] == "claude"
    assert answer.headers["x-gateway-attempts"].startswith(f"claude:{status}:")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, "authentication_error", "invalid x-api-key"),
        (503, "api_error", "no"),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    ],
)
def test_another_upstream_counts_where_one_has_failed(
    claude: FlaskClient, upstream: responses.RequestsMock, status: int, kind: str, words: str
) -> None:
    said = {"type": "error", "error": {"type": kind, "message": words}}
    upstream.post(f"{URL}/count_tokens", status=status, json=said)
    upstream.post(f"{SPARE}/count_tokens", json={"input_tokens": 5})
    answer = ask(claude, path="/v1/messages/count_tokens")
    assert answer.json == {"input_tokens": 5}
    assert "x-gateway-estimated" not in answer.headers


def test_models_have_the_form_of_the_client(claude: FlaskClient) -> None:
    version = {**AUTH, "anthropic-version": "2023-06-01"}
    listed = claude.get("/v1/models?limit=1000", headers=version).json
    assert listed is not None
    assert {one["type"] for one in listed["data"]} == {"model"}
    ids = [one["id"] for one in listed["data"]]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (ids[0], ids[-1], False)
    assert claude.get("/v1/models/claude", headers=version).json == {
        "type": "model",
        "id": "claude",
        "display_name": "claude",
        "created_at": "2026-01-01T00:00:00Z",
    }
    assert_error(claude.get("/v1/models/x", headers=version), 404, "not_found_error")
    assert claude.get("/v1/models", headers=AUTH).json["object"] == "list"  # type: ignore[index]


def test_a_body_may_be_twice_as_large_as_others(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock
) -> None:
    client = make_claude(make_client, max_body_bytes=1000)
    upstream.post(URL, json=ANSWER)
    assert ask(client, {**BODY, "x": "y" * 1500}).status_code == 200
    assert_error(ask(client, {**BODY, "x": "y" * 2000}), 413, "request_too_large")
