"""Tests that an error is found wherever it stands: in an event, a response or a document."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import chunk, make_call, sse
from kit.stream_events import CREATED, ERRORS, read, stream

from flask_gateway.dialects.openai import DONE
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamCut, UpstreamError, UpstreamMalformed


@pytest.mark.parametrize("said", ERRORS)
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_in_a_stream_is_found(said: bytes, begun: bool) -> None:
    transcript = stream()
    if begun:
        transcript.feed(sse(chunk("half"), done=False))
    with pytest.raises(UpstreamError) as caught:
        read(transcript, said, DONE if said.endswith(b"\n\n") else b"")
    assert not isinstance(caught.value, UpstreamCut | UpstreamMalformed)
    assert transcript.dropped == 0


@pytest.mark.parametrize(
    "said",
    [
        {"type": "error", "code": "server_error", "message": "boom"},
        {"type": "error", "error": {"code": "x", "message": "boom"}},
        {"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}},
        {"type": "response.failed", "response": {"status": "failed", "error": None}},
        {"type": "response.failed"},
        {"type": "response.completed", "response": {"status": "failed", "error": {"message": "x"}}},
        {"code": 500, "message": "Internal"},
        {"error": {"message": "x"}},
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_in_a_response_is_found(said: dict[str, Any], begun: bool) -> None:
    transcript = stream(Operation.RESPONSE)
    transcript.feed(sse(CREATED, done=False))
    if begun:
        transcript.feed(sse({"type": "response.output_text.delta", "delta": "x"}, done=False))
    assert transcript.ready is begun
    with pytest.raises(UpstreamError) as caught:
        transcript.feed(sse(said))
    assert not isinstance(caught.value, UpstreamCut | UpstreamMalformed)


@pytest.mark.parametrize(
    "said",
    [
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": {"code": 0, "message": ""}},
        {"type": "ping", "message": "still here"},
        {"object": "queue.status", "message": "third in line"},
        {"status": 200, "message": "working"},
    ],
)
def test_a_value_that_is_no_error_is_not_reported(said: dict[str, Any]) -> None:
    events = sse(chunk("a"), {**said}, {**chunk("b"), **said}, chunk(finish="stop"))
    assert read(stream(), events) == events


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "x"}},
        {"error": "x", "choices": []},
        [{"error": {"message": "x"}}],
        {"object": "error", "message": "x", "code": 400},
        {"detail": "x"},
        {"choices": [{"index": 0, "finish_reason": "error", "message": {"content": "half"}}]},
        {"choices": [{"index": 0, "error": {"code": 502}, "message": {"content": "half"}}]},
    ],
)
def test_an_error_in_a_body_is_found(said: Any) -> None:
    transcript = transcript_for(make_call(), "up")
    transcript.feed(json.dumps(said).encode())
    with pytest.raises(UpstreamError) as caught:
        transcript.end()
    assert not isinstance(caught.value, UpstreamMalformed)


def test_a_response_that_failed_is_an_error() -> None:
    call = msgspec.structs.replace(make_call(), operation=Operation.RESPONSE)
    for said in (
        {"status": "failed", "error": {"code": "x"}, "output": []},
        {"status": "failed", "output": []},
    ):
        transcript = transcript_for(call, "up")
        transcript.feed(json.dumps(said).encode())
        with pytest.raises(UpstreamError):
            transcript.end()
