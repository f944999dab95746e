"""Tests the strict parser of chat answers: each flaw of their form is found and named."""

from __future__ import annotations

import json

import pytest

from flask_gateway.cli.selftest.client import ClientResponse, StreamEnd
from flask_gateway.cli.selftest.response_parser import hear
from flask_gateway.cli.selftest.scripted_answers import DONE, ScriptedAnswer, event

ANSWER = ScriptedAnswer("c1", "m")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
ERROR = {"error": {"message": "x", "type": "t", "param": None, "code": "c"}}


def streamed(*events: bytes, end: StreamEnd = StreamEnd.WHOLE, stream: bool = True) -> ClientResponse:
    headers = {"content-type": "text/event-stream"}
    return ClientResponse(stream, 200, headers, b"".join(events), end, 1.0)


def whole(body: bytes, status: int = 200, stream: bool = False) -> ClientResponse:
    return ClientResponse(stream, status, {"content-type": "application/json"}, body, StreamEnd.WHOLE, 1.0)


def test_a_good_stream_and_a_good_body_have_no_flaws() -> None:
    for answer in (streamed(*ANSWER.events(["a", "b"], USAGE)), whole(ANSWER.body("ab", USAGE))):
        heard = hear(answer)
        assert (heard.flaws, heard.text, heard.finish, heard.done) == ([], "ab", "stop", True)
        assert (heard.model, heard.usage) == ("m", USAGE)


GOOD = ANSWER.events(["a"])


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        (streamed(*GOOD, end=StreamEnd.NEVER), "no end within 1.0 s"),
        (streamed(*GOOD, end=StreamEnd.BROKEN), "the connection broke"),
        (streamed(*GOOD, stream=False), "a stream that was not requested"),
        (whole(ANSWER.body("a", USAGE), stream=True), "no stream as requested"),
        (streamed(*GOOD[:-1]), "without [DONE] and without an error"),
        (streamed(*GOOD, GOOD[1]), "an event after the end"),
        (streamed(GOOD[0], event(ERROR), GOOD[1]), "an event after the error"),
        (streamed(*GOOD[:-1], event(ERROR)), "an error in a stream that has finished"),
        (streamed(GOOD[0], b"data: {\n\n", *GOOD[1:]), "not a JSON object"),
        (streamed(*GOOD[:-1], GOOD[1], DONE), "continues after its finish reason"),
        (streamed(GOOD[0], ScriptedAnswer("c2", "m").chunk({}, "stop"), DONE), "one stream with 2 ids"),
        (streamed(*GOOD, b"data: x"), "an unfinished event"),
        (streamed(event({"error": "x"})), "not in OpenAI's envelope"),
        (whole(b"<html>", 502), "a body that is not a JSON object"),
        (whole(json.dumps(ERROR).encode()), "a 200 that is an error"),
        (whole(b"{}", 502), "a 502 that is no error"),
    ],
)
def test_a_flaw_is_named(answer: ClientResponse, flaw: str) -> None:
    assert any(flaw in found for found in hear(answer).flaws), hear(answer).flaws


def test_an_error_in_a_stream_is_an_end() -> None:
    heard = hear(streamed(GOOD[0], event(ERROR)))
    assert (heard.flaws, heard.error) == ([], ERROR["error"])
    assert hear(whole(json.dumps(ERROR).encode(), 500)).flaws == []
