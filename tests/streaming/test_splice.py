"""Tests the joint of a resumed answer: what can be continued, the second call, the chunks of one answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import chunk, make_call, sse

from flask_gateway.model.call import Call, Continues, Operation, Usage
from flask_gateway.streaming.splice import (
    MAX_TEXT,
    ChunkRewriter,
    PartialAnswer,
    PartialAnswerReader,
    may_continue,
    resumed,
)

HELLO = [{"role": "user", "content": "Hello"}]


def call(**fields: Any) -> Call:
    return make_call(stream=True, **{"messages": HELLO, **fields})


def test_some_calls_cannot_be_continued() -> None:
    assert may_continue(call())
    assert may_continue(call(n=1))
    for fields in ({"n": 2}, {"logprobs": True}, {"echo": True}, {"messages": []}, {"messages": "x"}):
        assert not may_continue(call(**fields))
    assert not may_continue(call(messages=[*HELLO, {"role": "assistant", "content": "x"}]))
    assert not may_continue(make_call(messages=HELLO))
    assert not may_continue(msgspec.structs.replace(call(), operation=Operation.RESPONSE))
    assert not may_continue(msgspec.structs.replace(call(), whole=True))


@pytest.mark.parametrize("how", list(Continues))
def test_the_second_call_asks_for_the_rest(how: Continues) -> None:
    second = resumed(call(max_tokens=10, min_tokens=2), PartialAnswer("Half", 4), how)
    messages = second.decoded("messages", 10_000)
    assert messages[:-1] == HELLO
    assert messages[-1]["content"] == "Half"
    assert ("prefix" in messages[-1]) == (how is Continues.PREFIX)
    assert ("continue_final_message" in second.fields) == (how is Continues.VLLM)
    assert (second.decoded("max_tokens", 99), second.decoded("min_tokens", 99)) == (6, 0)
    assert resumed(call(max_tokens=3), PartialAnswer("x", 9), how).decoded("max_tokens", 99) == 1


def test_the_text_of_the_first_part_is_kept_with_its_names() -> None:
    reader = PartialAnswerReader()
    for byte in sse(chunk("Hel"), chunk("lo"), done=False):
        reader.feed(bytes([byte]))
    assert (reader.text, reader.resumable) == ("Hello", True)
    assert set(reader.names) <= {"id", "created", "model"}


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"index": 1, "delta": {"content": "x"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{}]}}]},
        {"choices": [{"index": 0, "delta": {"content": ["x"]}}]},
        {"choices": [{"index": 0, "delta": {"content": "x" * (MAX_TEXT + 1)}}]},
        {"choices": 7},
    ],
)
def test_a_first_part_that_cannot_be_continued(event: dict[str, Any]) -> None:
    reader = PartialAnswerReader()
    reader.feed(sse(chunk("Hello"), event, done=False))
    assert not reader.resumable
    assert reader.text == ""


def test_chunks_of_the_second_part_carry_the_names_of_the_first() -> None:
    names = {"id": msgspec.Raw(b'"first"'), "model": msgspec.Raw(b'"m1"')}
    rewriter = ChunkRewriter(names, Usage(prompt_tokens=3, completion_tokens=4, source="reported"))
    opening = {"id": "second", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    assert rewriter.rewrite(sse(opening, done=False)) == b""
    said = {"id": "second", "model": "m2", "choices": [{"index": 0, "delta": {"role": "a", "content": "x"}}]}
    rewritten = json.loads(rewriter.rewrite(sse(said, done=False))[6:])
    assert (rewritten["id"], rewritten["model"]) == ("first", "m1")
    assert rewritten["choices"][0]["delta"] == {"content": "x"}
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    counted = json.loads(rewriter.rewrite(sse(usage, done=False))[6:])["usage"]
    assert counted == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}


@pytest.mark.parametrize(
    "event", [b": ping\n\n", b"data: [DONE]\n\n", b"data: {\n\n", b'data: {"choices":7}\n\n']
)
def test_other_events_pass_unchanged(event: bytes) -> None:
    assert ChunkRewriter({}, Usage()).rewrite(event) == event


def test_the_usage_is_reported_only_if_both_parts_reported_theirs() -> None:
    rewriter = ChunkRewriter({}, Usage(prompt_tokens=3, completion_tokens=4, source="reported"))
    assert rewriter.total(None).completion_tokens == 4
    assert rewriter.total(Usage(completion_tokens=2, source="reported")).source == "reported"
    assert rewriter.total(Usage(completion_tokens=2, source="estimated")).source == "estimated"
