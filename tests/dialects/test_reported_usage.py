"""Tests that usage is read part by part, wherever it stands."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import chunk, make_call, sse
from kit.stream_events import choice, read, stream

from flask_gateway.dialects.reported_usage import ReportedUsage, plain_usage
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation, Usage

#: Usage as servers report it, and the numbers that are read from it: prompt, completion, cached.
USAGES: list[tuple[Any, tuple[int, int, int]]] = [
    ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, (3, 4, 0)),
    ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 0)),
    ({"prompt_tokens": 12, "completion_tokens": None, "total_tokens": 12}, (12, 0, 0)),
    ({"prompt_tokens": 12, "completion_tokens": None, "total_tokens": 20}, (12, 8, 0)),
    ({"prompt_tokens": None, "completion_tokens": 8, "total_tokens": 20}, (12, 8, 0)),
    ({"prompt_tokens": 12, "completion_tokens": "8"}, (12, 8, 0)),
    ({"prompt_tokens": 12.0, "completion_tokens": 8.0}, (12, 8, 0)),
    ({"prompt_tokens": 12, "completion_tokens": [], "total_tokens": None}, (12, 1, 0)),
    ({"prompt_tokens": 12, "completion_tokens": -1}, (12, 1, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": None}, (12, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": []}, (12, 3, 0)),
    (
        {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": None}},
        (12, 3, 0),
    ),
    (
        {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
        (12, 3, 5),
    ),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_cache_hit_tokens": 5}, (12, 3, 5)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "cached_tokens": 5}, (12, 3, 5)),
    ({"total_tokens": 9}, (8, 1, 0)),
    ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 9}, (8, 1, 0)),
]


@pytest.mark.parametrize(("said", "understood"), USAGES)
def test_usage_is_read_part_by_part(said: Any, understood: tuple[int, int, int]) -> None:
    in_the_choice = {**choice(finish="stop")}
    in_the_choice["choices"][0]["usage"] = said
    for events in (
        [chunk("fine"), chunk(finish="stop"), {"choices": [], "usage": said}],
        [chunk("fine"), chunk(finish="stop", usage=said)],
        [chunk("fine"), in_the_choice],
        [chunk("fine"), chunk(finish="stop"), {"choices": [], "x_groq": {"usage": said}}],
        [chunk("fine", usage=said), chunk(finish="stop", usage={"prompt_tokens": None})],
    ):
        transcript = stream()
        read(transcript, sse(*events))
        assert transcript.usage is not None
        usage = transcript.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == understood
        assert usage.source == "reported"
    answer = {"choices": [{"message": {"content": "fine"}}]}
    for body in (
        {**answer, "usage": said},
        {"choices": [{"message": {"content": "fine"}, "usage": said}]},
        {**answer, "x_groq": {"usage": said}},
    ):
        usage = usage_of(Operation.CHAT, body)
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == understood


def usage_of(operation: Operation, body: Any) -> Any:
    transcript = transcript_for(msgspec.structs.replace(make_call(), operation=operation), "up")
    transcript.feed(json.dumps(body).encode())
    transcript.end()
    assert transcript.usage is not None
    assert transcript.usage.source == "reported"
    return transcript.usage


@pytest.mark.parametrize(
    ("operation", "body", "prompt", "completion"),
    [
        (Operation.RERANK, {"usage": {"total_tokens": 62}, "results": []}, 62, 0),
        (Operation.RERANK, {"meta": {"billed_units": {"input_tokens": 7}}, "results": []}, 7, 0),
        (
            Operation.RERANK,
            {"meta": {"tokens": {"input_tokens": 7, "output_tokens": 1}}, "results": []},
            7,
            1,
        ),
        (Operation.RERANK, {"usage": {"prompt_tokens": 5, "total_tokens": 5}, "data": []}, 5, 0),
        (Operation.EMBEDDING, {"data": [], "usage": {"total_tokens": 9}}, 9, 0),
        (Operation.EMBEDDING, {"data": [], "usage": {"prompt_tokens": 9}}, 9, 0),
        (Operation.EMBEDDING, {"data": [], "usage": {"prompt_tokens": None, "total_tokens": 9}}, 9, 0),
        (Operation.CHAT, {"choices": [], "timings": {"prompt_n": 3, "cache_n": 2, "predicted_n": 4}}, 5, 4),
        (Operation.CHAT, {"choices": [], "prompt_eval_count": 3, "eval_count": 4}, 3, 4),
        (
            Operation.CHAT,
            {"choices": [], "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}},
            3,
            4,
        ),
        (
            Operation.CHAT,
            {"choices": [], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}},
            3,
            4,
        ),
        (Operation.RESPONSE, {"output": [], "usage": {"input_tokens": 3, "output_tokens": None}}, 3, 0),
    ],
)
def test_usage_is_read_from_wherever_it_stands(
    operation: Operation, body: Any, prompt: int, completion: int
) -> None:
    usage = usage_of(operation, body)
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, completion)


@pytest.mark.parametrize("said", [said for said, _ in USAGES])
def test_the_plain_reading_says_the_same_or_nothing(said: Any) -> None:
    reported = ReportedUsage()
    reported.add(said)
    assert plain_usage(said) in (None, reported.complete())


def test_openais_three_counts_are_read_plainly() -> None:
    said = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert plain_usage(said) == Usage(3, 4)
    for name in said:
        for odd in (None, True, -1, 0, 10**11, "4", 4.0):
            assert name == "total_tokens" or plain_usage({**said, name: odd}) is None


def test_an_empty_choice_next_to_the_usage_is_hidden_with_it() -> None:
    said = sse(chunk("hi"), chunk(finish="stop"), {**choice(), "usage": {"completion_tokens": 251}})
    assert read(stream(hides=True), said) == sse(chunk("hi"), chunk(finish="stop"))
