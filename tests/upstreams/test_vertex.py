"""The kind ``vertex``: OpenAI's API below one path, Anthropic's with the model in the path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import responses
from kit.calls import make_call
from kit.upstream_mock import UpstreamMock

from flask_gateway.config.kinds import KINDS
from flask_gateway.config.schema import Timeouts
from flask_gateway.config.upstream_url import base_url
from flask_gateway.model.call import Call, Operation
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.transport.client import UpstreamClient

BASE = "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1"
MODELS = f"{BASE}/publishers/anthropic/models"
CLAUDE = "claude-sonnet-4-5@20250929"
ANSWER = {"type": "message", "role": "assistant", "content": [], "stop_reason": "end_turn"}
STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":1}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with UpstreamMock() as mock:
        yield mock


@pytest.fixture
def vertex() -> Iterator[HttpUpstream]:
    reactor = Reactor()
    http = UpstreamClient(reactor)
    yield HttpUpstream("gcp", base_url(BASE), "ya29.a-token", http, Timeouts(), kind=KINDS["vertex"])
    http.close()
    reactor.close()


def asked(operation: Operation, *, stream: bool = False, **fields: Any) -> Call:
    given = {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **fields}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in given.items()}
    call = msgspec.structs.replace(make_call(CLAUDE), operation=operation, stream=stream, fields=raw)
    headers = {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01"}
    return msgspec.structs.replace(call, query="beta=true", headers=headers)


def test_chat_is_below_a_path_of_its_own(server: responses.RequestsMock, vertex: HttpUpstream) -> None:
    server.post(
        f"{BASE}/endpoints/openapi/chat/completions", json={"object": "chat.completion", "choices": []}
    )
    b"".join(vertex.send(make_call("google/gemini-2.5-flash")))
    request = server.calls[0].request
    assert request.headers["Authorization"] == "Bearer ya29.a-token"
    assert json.loads(request.body or b"")["model"] == "google/gemini-2.5-flash"


@pytest.mark.parametrize(
    ("stream", "method"), [(False, "rawPredict"), (True, "streamRawPredict")], ids=["whole", "stream"]
)
def test_messages_name_the_model_in_the_path(
    stream: bool, method: str, server: responses.RequestsMock, vertex: HttpUpstream
) -> None:
    if stream:
        server.post(f"{MODELS}/{CLAUDE}:{method}", body=STREAM, content_type="text/event-stream")
    else:
        server.post(f"{MODELS}/{CLAUDE}:{method}", json=ANSWER)
    assert b"end_turn" in b"".join(vertex.send(asked(Operation.MESSAGE, stream=stream)))
    request = server.calls[0].request
    assert json.loads(request.body or b"") == {
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": stream,
        "anthropic_version": "vertex-2023-10-16",
    }
    assert request.headers["anthropic-beta"] == "a,b"


def test_the_callers_own_version_in_the_body_stays(
    server: responses.RequestsMock, vertex: HttpUpstream
) -> None:
    server.post(f"{MODELS}/{CLAUDE}:rawPredict", json=ANSWER)
    b"".join(vertex.send(asked(Operation.MESSAGE, anthropic_version="vertex-2027-01-01")))
    assert json.loads(server.calls[0].request.body or b"")["anthropic_version"] == "vertex-2027-01-01"


def test_a_count_names_the_model_in_the_body(server: responses.RequestsMock, vertex: HttpUpstream) -> None:
    server.post(f"{MODELS}/count-tokens:rawPredict", json={"input_tokens": 5})
    assert b"".join(vertex.send(asked(Operation.COUNT))) == b'{"input_tokens": 5}'
    assert json.loads(server.calls[0].request.body or b"")["model"] == CLAUDE


@pytest.mark.parametrize("model", ["../../x", "a/b:rawPredict?c", "ü"])
def test_a_name_stays_in_its_place_in_the_path(model: str) -> None:
    url = KINDS["vertex"].anthropic_url_of(BASE, Operation.MESSAGE, model, stream=False)
    name = url.removeprefix(f"{MODELS}/").removesuffix(":rawPredict")
    assert not set("/?:#") & set(name)
    assert url.isascii()
