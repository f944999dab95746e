"""Tests calls of Anthropic's Messages at an upstream of chat, and the reverse, as a caller sees them.

The recordings in ``tests/golden/claude-code`` are requests that Claude Code sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import responses
from flask.testing import FlaskClient
from kit.calls import AUTH, single_candidate
from werkzeug.test import TestResponse

from flask_gateway.cli.selftest.client import Api, ClientResponse, StreamEnd
from flask_gateway.cli.selftest.response_parser import hear
from flask_gateway.config.schema import CandidateSettings, ModelSettings, UpstreamSettings

RECORDED = sorted((Path(__file__).parents[1] / "golden/claude-code").glob("*.json"))
CHAT = "http://llama.test/v1/chat/completions"
URL = "http://claude.test/v1/messages"
BODY = {"model": "llama", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 1},
}


def ask(client: FlaskClient, body: Any = BODY, path: str = "/v1/messages", **headers: str) -> TestResponse:
    return client.post(path, json=body, headers={**AUTH, **headers})


def assert_error(answer: TestResponse, status: int, kind: str) -> dict[str, Any]:
    """The fields of an error in Anthropic's words."""
    assert answer.status_code == status
    body: dict[str, Any] = answer.json or {}
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    error: dict[str, Any] = body["error"]
    return error


def only_claude(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    only = UpstreamSettings(name="claude", url="http://claude.test/v1", kind="anthropic")
    return make_client(upstreams=(only,), models=(), default_upstream="claude")


def test_messages_are_translated_for_a_chat_upstream(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    said = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    upstream.post(CHAT, json={"choices": [said], "usage": usage})
    answer = ask(client, {**BODY, "model": "llama"})
    assert answer.status_code == 200
    assert answer.headers["x-gateway-translated"] == "messages>chat/completions"
    assert answer.headers["request-id"]
    assert answer.json is not None
    assert answer.json["content"] == [{"type": "text", "text": "Hi"}]
    assert answer.json["usage"]["input_tokens"] == 9
    sent = upstream.calls[-1].request
    assert "anthropic-version" not in sent.headers
    assert json.loads(sent.body or b"")["max_tokens"] == BODY["max_tokens"]


def test_a_field_without_a_place_in_chat_is_refused_by_name(client: FlaskClient) -> None:
    error = assert_error(ask(client, {**BODY, "model": "llama", "top_k": 5}), 400, "invalid_request_error")
    assert (error["code"], error["param"]) == ("unsupported_field", "top_k")
    assert "[upstreams.llama]" in error["message"]


def test_tokens_are_estimated_where_no_upstream_counts_them(client: FlaskClient) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 9000}}
    tools = [{"name": "t", "input_schema": {"description": "word " * 80}}]
    messages = [{"role": "user", "content": [{"type": "text", "text": "word " * 80}, picture]}]
    answer = ask(
        client, {"model": "llama", "messages": messages, "tools": tools}, "/v1/messages/count_tokens"
    )
    assert answer.status_code == 200
    assert answer.headers["x-gateway-estimated"] == "true"
    assert "x-gateway-attempts" not in answer.headers  # none was asked
    assert answer.json is not None
    assert 1.15 * 1800 < answer.json["input_tokens"] < 1.15 * 1850


def test_an_operation_that_no_upstream_takes_is_refused_by_name(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = only_claude(make_client)
    answer = ask(client, {"model": "claude", "input": "Hello"}, "/v1/embeddings")
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["error"]["code"] == "unsupported_operation"
    assert "'claude'" in answer.json["error"]["message"]
    assert "'speaks'" in answer.json["error"]["message"]


def test_a_chat_call_is_translated_for_an_anthropic_upstream(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock
) -> None:
    client = only_claude(make_client)
    upstream.post(URL, json=ANSWER)
    body = {"model": "claude", "messages": BODY["messages"]}
    answer = ask(client, body, "/v1/chat/completions")
    assert answer.status_code == 200
    assert answer.headers["x-gateway-translated"] == "chat/completions>messages"
    assert answer.json is not None
    assert answer.json["object"] == "chat.completion"
    sent = upstream.calls[-1].request
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert json.loads(sent.body or b"")["max_tokens"] == 16384
    upstream.replace("POST", URL, status=400, json={"type": "error", "error": {"message": "no thinking"}})
    refused = ask(client, body, "/v1/chat/completions")
    assert refused.status_code == 400
    assert refused.json is not None
    assert refused.json["error"]["message"] == "no thinking"
    assert "type" not in refused.json


def test_a_model_may_have_its_own_longest_answer(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock
) -> None:
    short = CandidateSettings(upstream="claude", model="haiku", max_output_tokens=4096)
    models = (
        ModelSettings(name="short", tiers=((short,),)),
        ModelSettings(name="long", tiers=(single_candidate("claude", "opus"),)),
    )
    only = UpstreamSettings(name="claude", url="http://claude.test/v1", kind="anthropic")
    client = make_client(upstreams=(only,), models=models)
    upstream.post(URL, json=ANSWER)
    for name in ("short", "long"):
        body = {"model": name, "messages": BODY["messages"]}
        assert ask(client, body, "/v1/chat/completions").status_code == 200
    sent = [json.loads(call.request.body or b"")["max_tokens"] for call in upstream.calls]
    assert sent == [4096, 16384]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [529, 200])
def test_an_overloaded_anthropic_upstream_is_a_503_to_chat(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock, stream: bool, status: int
) -> None:
    said = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    data = f"event: error\ndata: {json.dumps(said)}\n\n" if stream and status == 200 else json.dumps(said)
    upstream.post(URL, status=status, body=data)
    body = {"model": "claude", "messages": BODY["messages"], "stream": stream}
    answer = ask(only_claude(make_client), body, "/v1/chat/completions")
    assert (answer.status_code, (answer.json or {})["error"]["code"]) == (503, "upstream_overloaded")
    assert answer.headers["x-gateway-error-origin"] == "upstream"
    assert answer.headers["x-gateway-attempts"].startswith("claude:529:" if status == 529 else "claude:")


#: The answer of a chat upstream, as a stream and in one piece.
CHUNKS = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}\n\n'
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)
COMPLETION = {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_turn_is_answered_by_a_chat_upstream(
    client: FlaskClient, upstream: responses.RequestsMock, recorded: Path
) -> None:
    turn = json.loads(recorded.read_text())
    body = {**turn["body"], "model": "llama"}
    searches = recorded.stem == "06-web-search-side-request"
    count = "count_tokens" in turn["path"]
    if body.get("stream") and not searches:
        upstream.post(CHAT, body=CHUNKS, content_type="text/event-stream")
    elif not (count or searches):
        upstream.post(CHAT, json=COMPLETION)
    headers = {name.lower(): value for name, value in turn["headers"] if name.startswith("anthropic-")}
    answer = ask(client, body, turn["path"], **headers)
    if searches:  # a chat upstream cannot
        assert assert_error(answer, 400, "invalid_request_error")["param"] == "tools.0"
        return
    assert answer.status_code == 200
    if count:
        assert (answer.json or {})["input_tokens"] > 50
        return
    head = {name.lower(): value for name, value in answer.headers.items()}
    stream = bool(body.get("stream"))
    heard = hear(ClientResponse(stream, 200, head, answer.data, StreamEnd.WHOLE, 1.0, Api.MESSAGES))
    assert (heard.flaws, heard.text, heard.finish) == ([], "Hello", "stop")
    sent = json.loads(upstream.calls[-1].request.body or b"")
    assert sent["messages"][0]["role"] == "system"
    assert "x-anthropic-billing-header" not in sent["messages"][0]["content"]
    assert {message["role"] for message in sent["messages"]} <= {"system", "user", "assistant", "tool"}
