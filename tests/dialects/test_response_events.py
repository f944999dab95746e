"""Tests the reader of the Responses API's events: content, ends, errors, and what a broken stream keeps."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.response_events import ResponseReader


def reader(*events: dict[str, Any]) -> ResponseReader:
    made = ResponseReader(make_call(stream=True))
    for event in events:
        made.read(msgspec.json.encode(event))
    return made


def test_text_is_content_and_is_counted() -> None:
    one = reader()
    assert one.read(b'{"type":"response.output_text.delta","delta":"Hello there"}')
    assert not one.read(b'{"type":"response.output_text.delta","delta":""}')
    assert one.tally.tokens > 0


@pytest.mark.parametrize(
    ("event", "content"),
    [
        ({"type": "response.created", "response": {"id": "r"}}, False),
        ({"type": "response.keepalive"}, False),
        ({"type": "response.output_item.added", "item": {"type": "message", "content": []}}, False),
        ({"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}, True),
        ({"type": "response.something_new"}, True),
        ({"type": "response.output_text.delta", "delta": {"text": "x"}}, True),
    ],
)
def test_which_events_carry_content(event: dict[str, Any], content: bool) -> None:
    assert reader().read(msgspec.json.encode(event)) is content
    assert reader().read_object(event) is content


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "x"},
        {"type": "error", "error": {"code": "x"}},
        {"type": "response.failed", "response": {"error": {"code": "x"}}},
        {"type": "response.failed"},
        {"error": {"message": "x"}},
        {"type": 7, "error": {"message": "x"}},
    ],
)
def test_an_error_in_any_shape(event: dict[str, Any]) -> None:
    one = reader()
    assert not one.read(msgspec.json.encode(event))
    assert one.error


def test_data_that_is_no_object_is_refused() -> None:
    for data in (b"[1]", b'"text"', b"{"):
        with pytest.raises(ValueError):  # the transcript looks at the class alone
            reader().read(data)


def test_the_last_event_completes_the_answer_and_reports_its_usage() -> None:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    one = reader({"type": "response.completed", "response": {"status": "completed", "usage": usage}})
    assert one.complete
    assert one.reported


def test_the_known_fields_of_the_response_and_the_next_number_are_kept() -> None:
    one = reader(
        {"type": "response.created", "sequence_number": 0, "response": {"id": "r1", "model": "m"}},
        {"type": "response.output_text.delta", "sequence_number": 7, "delta": "x"},
    )
    assert one.response == {"id": "r1", "model": "m"}
    assert one.next_number == 8
    assert reader().next_number == 0
