"""Tests which events commit to an answer, and what may follow a complete one."""

from __future__ import annotations

from typing import Any

import pytest
from kit.calls import ROLE, chunk, make_call, sse
from kit.stream_events import CREATED, ERRORS, choice, read, stream

from flask_gateway.dialects.openai import DONE
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamError

# ------------------------------------------------------------------ what follows a complete answer

FOLLOWS: list[Any] = [
    {},
    {"choices": []},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
    {"choices": [{"index": 1, "delta": {}, "finish_reason": None}]},
    {
        "choices": [
            {"index": 0, "finish_reason": None, "content_filter_results": {}, "content_filter_offsets": {}}
        ]
    },
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    {"type": "ping"},
    {"choices": [], "x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
]


@pytest.mark.parametrize("said", FOLLOWS)
def test_a_complete_answer_stays_so(said: Any) -> None:
    transcript = stream()
    transcript.feed(sse(chunk("all"), chunk(finish="stop"), done=False))
    assert transcript.complete
    transcript.feed(sse(said, done=False) + b": ping\n\n")
    assert transcript.complete
    assert transcript.end() == DONE


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"<html><body>502 Bad Gateway</body></html>\n\n", id="a page"),
        pytest.param(b'{"id": 1}\n\n', id="a document"),
        pytest.param(b"z" * 70_000, id="no event"),
        pytest.param(b"data: x\n" * 100_002 + b"\n", id="too many lines"),
        pytest.param(b"data: " + b"y" * (17 << 20), id="too large an event"),
    ],
)
def test_garbage_behind_a_complete_answer_takes_nothing_from_it(tail: bytes) -> None:
    transcript = stream()
    sent = transcript.feed(sse(chunk("all"), chunk(finish="stop"), done=False))
    sent += transcript.feed(tail)
    sent += b"" if transcript.finished else transcript.end()
    assert sent.endswith(DONE)
    assert sent.count(DONE) == 1


def test_a_complete_answer_tells_once_that_it_is_so() -> None:
    told: list[bool | None] = []
    transcript = transcript_for(make_call(stream=True), "up", completed=told.append)
    transcript.feed(sse(chunk("all"), done=False))
    assert told == []
    transcript.feed(sse(chunk(finish="stop"), *FOLLOWS, chunk(finish="stop"), chunk("", "stop"), done=False))
    assert told == [False]


def test_more_may_follow_a_finish_reason_that_comes_with_content() -> None:
    told: list[bool | None] = []
    transcript = transcript_for(make_call(stream=True), "up", completed=told.append)
    transcript.feed(sse(chunk("a", finish="stop"), chunk("b", finish="stop"), done=False))
    assert told == [True, True]
    transcript.feed(sse(choice(1, "another"), done=False))
    assert told == [True, True, None]


def test_more_may_follow_where_more_has_followed() -> None:
    told: list[bool | None] = []
    transcript = transcript_for(make_call(stream=True), "up", completed=told.append)
    transcript.feed(sse(chunk("a"), chunk(finish="stop"), chunk("b"), *FOLLOWS, done=False))
    assert told == [False, True]
    assert transcript.complete


@pytest.mark.parametrize("said", [*ERRORS, b"data: {broken\n\n"])
def test_an_error_behind_a_complete_answer_takes_nothing_from_it(said: bytes) -> None:
    begin = sse(chunk("all"), chunk(finish="stop"), done=False)
    assert read(stream(), begin, said) == begin + DONE


def test_groqs_error_next_to_its_usage_is_read() -> None:
    transcript = stream()
    with pytest.raises(UpstreamError):
        transcript.feed(sse(chunk("half"), {"choices": [], "x_groq": {"error": "over capacity"}}, done=False))


@pytest.mark.parametrize("index", [None, "0", [], {}, 1.5, True])
def test_a_choice_of_an_odd_index_is_the_first(index: Any) -> None:
    said = sse(choice(index, "all"), choice(index, finish="stop"), done=False)
    assert read(stream(), said) == said + DONE


def test_lists_in_lists_are_no_error_of_ours() -> None:
    for depth in (10, 300, 900):
        transcript = stream()
        assert read(transcript, sse(chunk("a"), b"[" * depth + b"]" * depth, chunk(finish="stop"))).endswith(
            DONE
        )
        transcript = stream()
        with pytest.raises(UpstreamError):
            read(transcript, b"[" * depth + b"]" * depth)


# ------------------------------------------------------------------ what commits to nothing

SILENT: list[Any] = [
    ROLE,
    {},
    {"choices": []},
    {"type": "keepalive"},
    choice(0, ""),
    choice(0, None, ""),
    {"choices": [{"index": 0, "delta": None}]},
    {
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": None, "tool_calls": [], "refusal": ""}}
        ]
    },
    {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": ""}]}}]},
    {"choices": [{"index": 0, "delta": {"reasoning_content": "", "reasoning_details": []}}]},
    {"choices": [{"index": 0, "text": ""}]},
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}},
]


@pytest.mark.parametrize("said", SILENT)
def test_empty_content_does_not_commit(said: Any) -> None:
    transcript = stream()
    for _ in range(100):
        transcript.feed(sse(said, done=False) + b": ping\n\n")
    assert not transcript.ready
    with pytest.raises(UpstreamError):
        transcript.feed(sse({"error": {"message": "boom"}}))


@pytest.mark.parametrize(
    "said",
    [
        CREATED,
        {"type": "response.queued", "response": {}},
        {"type": "response.in_progress", "response": {}},
        {"type": "keepalive", "sequence_number": 2},
        {"type": "response.heartbeat"},
        {"type": "ping"},
        {"type": "codex.rate_limits", "primary": {}},
        {},
        {"type": "response.output_text.delta", "delta": ""},
        {"type": "response.output_item.added", "item": {"type": "message", "id": "m", "content": []}},
        {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "r", "summary": []}},
        {
            "type": "response.content_part.added",
            "part": {"type": "output_text", "text": "", "annotations": []},
        },
    ],
)
def test_empty_response_events_do_not_commit(said: Any) -> None:
    transcript = stream(Operation.RESPONSE)
    for _ in range(100):
        transcript.feed(b"event: x\n" + sse(said, done=False))
    assert not transcript.ready


@pytest.mark.parametrize(
    "said",
    [
        {"type": "response.output_text.delta", "delta": "x"},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}},
        {"type": "response.refusal.delta", "delta": "no"},
        {"type": "response.web_search_call.searching", "item_id": "w"},
        {"type": "response.incomplete", "response": {"status": "incomplete"}},
    ],
)
def test_whatever_a_response_says_is_content(said: Any) -> None:
    transcript = stream(Operation.RESPONSE)
    transcript.feed(sse(CREATED, said, done=False))
    assert transcript.ready
