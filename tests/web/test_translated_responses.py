"""Tests Responses calls to upstreams that take only chat, on the way through the whole gateway.

Codex's recorded requests go to an upstream of its own API, and to one that takes only chat.
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
from kit.response_cases import cases, events_of
from werkzeug.test import TestResponse

from flask_gateway.config.schema import ModelSettings, UpstreamSettings
from flask_gateway.model.call import Operation
from flask_gateway.model.quirks import Quirks, Unsupported

CHAT = "http://chat.test/v1/chat/completions"
OWN = "http://own.test/v1/responses"
RECORDED = sorted((Path(__file__).parents[1] / "golden/codex").glob("*.json"))
CASES = {case.name: case for case in cases()}
STREAM = CASES["text-call-usage"].answered
EVENTS = "text/event-stream"
COMPLETED = {"id": "resp_1", "object": "response", "status": "completed", "output": []}
OWN_STREAM = "".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    for event in (
        {"type": "response.created", "response": {**COMPLETED, "status": "in_progress"}},
        {"type": "response.output_text.delta", "item_id": "m", "delta": "Hello"},
        {"type": "response.completed", "response": COMPLETED},
    )
).encode()


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """A gateway with an upstream that takes only chat, one of the Responses API, and a route with both."""
    chat, own = single_candidate("chat", "llama-3"), single_candidate("own", "gpt")
    models = (
        ModelSettings(name="llama", tiers=(chat,)),
        ModelSettings(name="gpt", tiers=(own,)),
        ModelSettings(name="both", tiers=((*chat, *own),)),
    )
    upstreams = (
        UpstreamSettings(name="chat", url="http://chat.test/v1", speaks=frozenset({Operation.CHAT})),
        UpstreamSettings(name="own", url="http://own.test/v1"),
    )
    return make_client(models=models, upstreams=upstreams)


def ask(client: FlaskClient, body: dict[str, Any]) -> TestResponse:
    return client.post("/v1/responses", json=body, headers=AUTH)


def body_sent(upstream: responses.RequestsMock, number: int = 0) -> dict[str, Any]:
    return json.loads(upstream.calls[number].request.body or b"")


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_codex_at_an_upstream_of_its_own_api(
    client: FlaskClient, upstream: responses.RequestsMock, recorded: Path
) -> None:
    upstream.post(OWN, body=OWN_STREAM, content_type=EVENTS)
    body = json.loads(recorded.read_text())["body"]
    answer = ask(client, {**body, "model": "gpt"})
    assert answer.data == OWN_STREAM
    assert body_sent(upstream) == {**body, "model": "gpt"}
    assert "x-gateway-translated" not in answer.headers


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_codex_at_an_upstream_that_takes_only_chat(
    client: FlaskClient, upstream: responses.RequestsMock, recorded: Path
) -> None:
    upstream.post(CHAT, body=STREAM, content_type=EVENTS)
    body = json.loads(recorded.read_text())["body"]
    answer = ask(client, {**body, "model": "llama"})
    assert answer.status_code == 200
    assert answer.headers["x-gateway-translated"] == "responses>chat/completions"
    assert "web_search" in answer.headers["x-gateway-left-out"]
    events = list(events_of(answer.data))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message", "function_call"]
    assert events[-1]["response"]["usage"]["total_tokens"] == 19
    # Codex takes its answer from these alone.
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]
    sent = body_sent(upstream)
    assert sent["stream_options"] == {"include_usage": True}
    assert {"input", "instructions", "include", "client_metadata", "store", "text"}.isdisjoint(sent)


def test_a_whole_answer(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    case = CASES["whole"]
    upstream.post(CHAT, body=case.answered, content_type="application/json")
    answer = ask(client, {**case.asked, "model": "llama"})
    given = json.loads(case.given)
    assert answer.json["output"][1]["content"] == given["output"][1]["content"]
    assert answer.json["usage"] == given["usage"]
    assert body_sent(upstream) == case.sent
    assert answer.headers["x-gateway-left-out"] == "text.verbosity"


def test_state_is_refused_by_name_and_nothing_is_sent(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    for field, value in {"previous_response_id": "resp_9", "store": True}.items():
        answer = ask(client, {"model": "llama", "input": "Hello", "stream": True, field: value})
        assert (answer.status_code, answer.json["error"]["param"]) == (400, field)
        assert answer.json["error"]["code"] == "unsupported_field"
        assert "'chat'" in answer.json["error"]["message"]
    assert len(upstream.calls) == 0


def test_an_upstream_of_the_same_api_comes_first(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.post(OWN, body=OWN_STREAM, content_type=EVENTS)
    for _ in range(3):
        assert ask(client, {"model": "both", "input": "Hello", "stream": True}).data == OWN_STREAM
    assert {call.request.url for call in upstream.calls} == {OWN}


def test_failover_goes_across_when_the_same_api_is_down(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.post(OWN, status=503)
    upstream.post(CHAT, body=STREAM, content_type=EVENTS)
    answer = ask(client, {"model": "both", "input": "Hello", "stream": True})
    assert list(events_of(answer.data))[-1]["type"] == "response.completed"
    assert answer.headers["x-gateway-upstream"] == "chat"


def test_a_cut_behind_text_ends_as_codex_expects(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.post(CHAT, body=CASES["cut"].answered, content_type=EVENTS)
    answer = ask(client, {"model": "llama", "input": "Hello", "stream": True})
    *_, delta, failed, error = events_of(answer.data)
    assert [delta["type"], failed["type"], error["type"]] == [
        "response.output_text.delta",
        "response.failed",
        "error",
    ]
    assert error["code"] == "upstream_stream_cut"
    assert error["sequence_number"] == delta["sequence_number"] + 2


def test_an_upstreams_refusal_keeps_its_words(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    error = {"message": "Too long.", "type": "invalid_request_error", "code": "context_length_exceeded"}
    upstream.post(CHAT, status=400, json={"error": error})
    answer = ask(client, {"model": "llama", "input": "Hello", "stream": True})
    assert answer.status_code == 400
    assert answer.json["error"]["code"] == "context_length_exceeded"
    assert answer.json["error"]["message"] == "Too long."


def test_an_outage_is_not_a_refusal(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    """The call is right. Only the upstream that can answer it is down."""
    upstream.post(OWN, status=503)
    answer = ask(client, {"model": "both", "input": "Hello", "store": True})
    assert (answer.status_code, answer.json["error"]["code"]) == (502, "upstream_error")


def test_names_of_the_caller_are_no_headers(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock
) -> None:
    chat = UpstreamSettings(
        name="chat",
        url="http://chat.test/v1",
        speaks=frozenset({Operation.CHAT}),
        quirks=Quirks(unsupported=Unsupported.DROP),
    )
    models = (ModelSettings(name="llama", tiers=(single_candidate("chat", "llama-3"),)),)
    client = make_client(models=models, upstreams=(chat,))
    upstream.post(CHAT, body=STREAM, content_type=EVENTS)
    answer = ask(client, {"model": "llama", "input": "Hi", "stream": True, "a\r\nset-cookie: é": 1, "b": 2})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-gateway-left-out"] == "a??set-cookie: ?, b"
