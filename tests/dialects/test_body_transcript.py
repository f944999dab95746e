"""Tests the transcript of an answer in one document."""

from __future__ import annotations

import json

import msgspec
import pytest
from kit.calls import make_call
from kit.transcripts import run, stream

from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation, Usage
from flask_gateway.model.errors import (
    GatewayError,
    UpstreamError,
    UpstreamFlagged,
    UpstreamMalformed,
    UpstreamOutOfCredit,
    UpstreamThrottled,
)
from flask_gateway.model.transcript import Transcript


def body(operation: Operation = Operation.CHAT) -> Transcript:
    return transcript_for(msgspec.structs.replace(make_call(), operation=operation), "llama")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"<",
        b"[]",
        b"{",
        b"\xff",
        b'{"choices":[1],"x":"\xff"}',
        b"[" * 100_000,
        b'{"object":"x"}',
        b"null",
    ],
)
def test_a_document_that_is_no_answer_is_malformed(said: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        run(body(), [said])


def test_an_error_object_under_200_is_a_failure() -> None:
    transcript = body()
    transcript.feed(b'{"error":{"message":"x","code":"overloaded"}}')
    with pytest.raises(UpstreamError, match="overloaded"):
        transcript.end()


def test_a_body_beyond_the_limit_is_refused_before_it_is_collected() -> None:
    transcript = body()
    for _ in range(32):
        transcript.feed(b" " * 1024 * 1024)
    with pytest.raises(UpstreamMalformed):
        transcript.feed(b" ")


def test_a_body_passes_as_it_is_with_its_usage() -> None:
    said = (
        b'{ "choices": [{}], "usage": {"prompt_tokens": 1, "completion_tokens": 2, '
        b'"prompt_tokens_details": {"cached_tokens": 1}}, "odd": 1.0 }'
    )
    transcript = body()
    assert run(transcript, [said[:10], said[10:]]) == said
    assert transcript.usage == Usage(1, 2, 1)


@pytest.mark.parametrize("usage", ["x", {"prompt_tokens": "many"}, []])
def test_usage_that_cannot_be_read_is_estimated(usage: object) -> None:
    transcript = body()
    choices = [{"message": {"role": "assistant", "content": "Good morning"}}]
    run(transcript, [json.dumps({"choices": choices, "usage": usage}).encode()])
    assert transcript.usage == Usage(2, 3, source="estimated")


#: Errors in answers of status 200 that also have the fields of an answer, as MiniMax and SiliconFlow send.
IN_AN_ANSWER = [
    ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, UpstreamThrottled),
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, UpstreamOutOfCredit),
    (
        {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}},
        UpstreamFlagged,
    ),
    ({"code": 20015, "message": "The parameter is invalid.", "data": None}, UpstreamError),
    ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, UpstreamThrottled),
]


@pytest.mark.parametrize(("said", "kind"), IN_AN_ANSWER)
def test_an_error_in_an_answer_without_choices(said: object, kind: type[GatewayError]) -> None:
    with pytest.raises(UpstreamError) as caught:
        run(body(), [json.dumps(said).encode()])
    assert type(caught.value) is kind
    transcript = stream()
    with pytest.raises(UpstreamError) as caught:
        run(transcript, [b"data: " + json.dumps(said).encode() + b"\n\n"])
    assert type(caught.value) is kind
    assert not transcript.ready


def test_a_status_of_zero_is_no_error() -> None:
    said = {"choices": [{"message": {"content": "hi"}}], "base_resp": {"status_code": 0, "status_msg": ""}}
    assert json.loads(run(body(), [json.dumps(said).encode()])) == said
