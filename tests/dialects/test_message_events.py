"""Tests the reader of Anthropic's events: content, the stop reason, errors, cumulative usage."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.message_events import MessageReader


def reader(*events: dict[str, Any]) -> MessageReader:
    made = MessageReader(make_call(stream=True))
    for event in events:
        made.read(msgspec.json.encode(event))
    return made


DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello there"}}


@pytest.mark.parametrize(
    ("event", "content"),
    [
        (DELTA, True),
        ({"type": "message_start", "message": {"usage": {"input_tokens": 3}}}, False),
        ({"type": "ping"}, False),
        ({"type": "content_block_start", "content_block": {"type": "text"}}, True),
        ({"type": "content_block_stop"}, False),
    ],
)
def test_which_events_carry_content(event: dict[str, Any], content: bool) -> None:
    assert reader().read(msgspec.json.encode(event)) is content
    assert reader().read_object(event) is content


def test_an_error_and_what_is_none() -> None:
    assert reader({"type": "error", "error": {"type": "overloaded_error"}}).error
    assert reader({"type": "error"}).error
    assert reader(DELTA).error is None
    for data in (b"[1]", b"7", b"{"):
        with pytest.raises(ValueError):  # the transcript looks at the class alone
            reader().read(data)


def test_a_stop_reason_completes_and_the_stop_finishes() -> None:
    stop = {"type": "message_stop"}
    assert not reader(DELTA).complete
    ended = reader(DELTA, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    assert (ended.complete, ended.finished) == (True, False)
    assert reader(DELTA, stop).finished
    assert not reader(stop).finished, "a stop behind nothing is no answer"


def test_later_counts_replace_earlier_ones_and_nulls_leave_them() -> None:
    one = reader(
        {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"input_tokens": None, "output_tokens": 7}},
    )
    usage = one.reported.usage(lambda: 0, lambda: 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 7)


def test_text_thinking_and_arguments_are_counted() -> None:
    for field in ("text", "thinking", "partial_json"):
        assert reader({"type": "content_block_delta", "delta": {field: "Hello there"}}).tally.tokens > 0
