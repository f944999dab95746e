"""Tests OpenAI's words for errors: the envelope, and the last events of streams that break."""

from __future__ import annotations

import json

import msgspec
from kit.calls import make_call

from flask_gateway.dialects.openai import DIALECTS, chat_error_event, envelope, response_error_event
from flask_gateway.dialects.response_events import ResponseReader
from flask_gateway.model.call import DIRECT, MEDIA, OPENAI, Operation
from flask_gateway.model.errors import InvalidField, UpstreamCut, UpstreamRefusal

CUT = UpstreamCut("It broke.", upstream="up")


def test_an_error_of_the_gateway_has_openais_four_fields() -> None:
    error = envelope(InvalidField("'n' must be 1.", param="n"))
    assert error == {
        "error": {"message": "'n' must be 1.", "type": "invalid_request_error", "param": "n", "code": None}
    }


def test_a_refusal_keeps_the_upstreams_words() -> None:
    refusal = UpstreamRefusal("ours", status=400, error_object={"message": "theirs", "code": 7, "extra": 1})
    assert envelope(refusal)["error"] == {
        "message": "theirs",
        "type": "invalid_request_error",
        "param": None,
        "code": "7",
        "extra": 1,
    }


def test_a_chat_that_breaks_ends_with_one_event() -> None:
    event = chat_error_event(CUT, None)
    assert json.loads(event.removeprefix(b"data: ")) == envelope(CUT)


def test_a_response_that_breaks_fails_with_what_is_known_of_it() -> None:
    reader = ResponseReader(make_call(stream=True))
    started = {"type": "response.created", "sequence_number": 4, "response": {"id": "r1"}}
    reader.read(msgspec.json.encode(started))
    first, second = response_error_event(CUT, reader).decode().strip().split("\n\n")
    assert first.startswith("event: response.failed\n")
    failed = json.loads(first.partition("data: ")[2])
    assert (failed["sequence_number"], failed["response"]["id"]) == (5, "r1")
    assert failed["response"]["error"]["code"] == CUT.code
    assert second.startswith("event: error\n")
    assert json.loads(second.partition("data: ")[2])["sequence_number"] == 6


def test_each_operation_of_the_api_has_its_dialect() -> None:
    assert DIALECTS.keys() == set(OPENAI) | set(MEDIA) | set(DIRECT)
    assert DIALECTS[Operation.RESPONSE].ending == b""
