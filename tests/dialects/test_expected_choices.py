"""Tests when a choice has ended, and how many choices an answer must have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import chunk, make_call, sse
from kit.stream_events import CREATED, choice, read, stream

from flask_gateway.dialects.expected_choices import choices_of
from flask_gateway.dialects.openai import DONE
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamCut, UpstreamError

NO_REASONS = [
    "",
    " ",
    "null",
    "NULL",
    "None",
    None,
    False,
    0,
    {},
    [],
    {"type": None},
    "FINISH_REASON_UNSPECIFIED",
]


@pytest.mark.parametrize("reason", NO_REASONS)
def test_such_a_finish_reason_ends_nothing(reason: Any) -> None:
    transcript = stream()
    transcript.feed(
        sse(choice(content="Hello", finish=reason), choice(content=" th", finish=reason), done=False)
    )
    assert not transcript.complete
    with pytest.raises(UpstreamCut):
        transcript.end()


@pytest.mark.parametrize("reason", NO_REASONS)
def test_a_server_without_finish_reasons_ends_with_done(reason: Any) -> None:
    said = sse(choice(content="Hello", finish=reason))
    assert read(stream(), said) == said


@pytest.mark.parametrize(
    "reason",
    ["stop", "length", "tool_calls", "content_filter", "eos", "STOP", "sensitive", {"type": "stop"}, 1],
)
def test_such_a_finish_reason_ends_a_choice(reason: Any) -> None:
    said = sse(choice(content="all"), choice(finish=reason), done=False)
    assert read(stream(), said) == said + DONE


@pytest.mark.parametrize(
    "reason", ["error", "ERROR", "abort", "network_error", "insufficient_system_resource", "cancelled"]
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_choice_that_was_given_up_is_an_error(reason: str, begun: bool) -> None:
    transcript = stream()
    if begun:
        transcript.feed(sse(chunk("half"), done=False))
    with pytest.raises(UpstreamError):
        transcript.feed(sse(choice(content="", finish=reason)))


@pytest.mark.parametrize(
    ("operation", "fields", "number"),
    [
        (Operation.CHAT, {}, 1),
        (Operation.CHAT, {"n": 2}, 2),
        (Operation.CHAT, {"n": 2.0}, 2),
        (Operation.CHAT, {"n": None}, 1),
        (Operation.CHAT, {"n": "2"}, 1),
        (Operation.CHAT, {"n": 0}, 1),
        (Operation.CHAT, {"n": True}, 1),
        (Operation.CHAT, {"n": 2, "prompt": ["a", "b"]}, 2),
        (Operation.COMPLETION, {"prompt": "a"}, 1),
        (Operation.COMPLETION, {"prompt": ["a", "b"]}, 2),
        (Operation.COMPLETION, {"prompt": ["a", "b"], "n": 3}, 6),
        (Operation.COMPLETION, {"prompt": ["a"], "n": 2, "best_of": 4}, 2),
        (Operation.COMPLETION, {"prompt": [1, 2, 3]}, 1),
        (Operation.COMPLETION, {"prompt": [[1, 2], [3]]}, 2),
        (Operation.COMPLETION, {"prompt": []}, 1),
        (Operation.COMPLETION, {"prompt": 7}, 1),
        (Operation.COMPLETION, {"prompt": [""] * 30_000}, 1),
        (Operation.COMPLETION, {}, 1),
    ],
)
def test_as_many_choices_are_expected_as_were_asked_for(
    operation: Operation, fields: dict[str, Any], number: int
) -> None:
    assert choices_of(msgspec.structs.replace(make_call(**fields), operation=operation)) == number


@pytest.mark.parametrize(
    "said",
    [
        [choice(0, "one"), choice(0, finish="stop")],
        [choice(1, "two"), choice(1, finish="stop")],
        [choice(0, "one", "stop"), choice(1, "tw")],
        [choice(0, "one"), choice(1, "two"), choice(1, finish="stop")],
        [choice(0, "one", "stop"), choice(1, "two", "")],
        [choice(0, "one", "stop"), choice(0, finish="stop")],
    ],
)
def test_a_choice_that_is_missing_is_a_cut(said: list[Any]) -> None:
    transcript = stream(n=2)
    transcript.feed(sse(*said, done=False))
    assert not transcript.complete
    with pytest.raises(UpstreamCut):
        transcript.end()


def test_a_choice_that_goes_on_at_done_is_a_cut() -> None:
    with pytest.raises(UpstreamCut):
        stream(n=2).feed(sse(choice(0, "one", "stop"), choice(1, "tw")))


def test_a_server_that_gives_one_choice_for_two_ends_with_done() -> None:
    said = sse(choice(0, "one", "stop"))
    assert read(stream(n=2), said) == said


def test_two_prompts_are_two_choices() -> None:
    one = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
    two = {"choices": [{"index": 1, "text": "b", "finish_reason": "stop"}]}
    transcript = stream(Operation.COMPLETION, prompt=["x", "y"])
    transcript.feed(sse(one, done=False))
    assert not transcript.complete
    transcript.feed(sse(two, done=False))
    assert transcript.complete


def test_done_ends_no_response() -> None:
    transcript = stream(Operation.RESPONSE)
    transcript.feed(sse(CREATED, {"type": "response.output_text.delta", "delta": "half"}, done=False))
    with pytest.raises(UpstreamCut):
        transcript.feed(sse())
