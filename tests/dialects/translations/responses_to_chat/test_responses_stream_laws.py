"""Tests laws of translated streams with streams that hypothesis makes up."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.examples import examples
from kit.response_cases import events_of
from kit.sdks import Sdk, openai

from flask_gateway.dialects.translations.responses_to_chat.answer import response_body
from flask_gateway.dialects.translations.responses_to_chat.response import ResponseShell
from flask_gateway.dialects.translations.responses_to_chat.stream import ResponseStream
from flask_gateway.dialects.translations.responses_to_chat.tools import Tool, ToolNames
from flask_gateway.model.call import Usage
from flask_gateway.model.errors import UpstreamMalformed

TEXTS = st.text(alphabet='ab"\\\né😀 {}:,', min_size=1, max_size=6)
sdk_streams = Sdk("openai.lib.streaming.responses._responses")
NAMES = st.sampled_from(["f", "n__g", "patch", "other"])
INDEXES = st.integers(0, 3)


def shell() -> ResponseShell:
    names = ToolNames()
    names._tools = {"f": Tool("f"), "n__g": Tool("g", "n"), "patch": Tool("patch", "", True)}
    return ResponseShell("1", 1, "m", {}, names)


def call(index: int, **fields: Any) -> dict[str, Any]:
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return {"tool_calls": [{"index": index, **fields, "function": function}]}


DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, TEXTS),
    st.builds(lambda text: {"reasoning_content": text}, TEXTS),
    st.builds(lambda text: {"refusal": text}, TEXTS),
    st.builds(lambda index, name, text: call(index, name=name, arguments=text), INDEXES, NAMES, TEXTS),
    st.builds(lambda index, text: call(index, arguments=text), INDEXES, TEXTS),
    st.builds(lambda index, name, one: call(index, name=name, id=f"call_{one}"), INDEXES, NAMES, INDEXES),
)
FINISHES = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


def chunk(delta: Any, finish: Any = None) -> bytes:
    return msgspec.json.encode(
        {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    )


def played(deltas: list[dict[str, Any]], finish: str) -> list[dict[str, Any]]:
    stream = ResponseStream(shell())
    out = b"".join(stream.event(chunk(delta)) for delta in deltas)
    out += stream.event(chunk({}, finish))
    return list(events_of(out + stream.end(Usage(1, 2))))


def texts_of(deltas: list[dict[str, Any]], *names: str) -> str:
    return "".join(delta[name] for delta in deltas for name in names if name in delta)


def texts_in(output: list[dict[str, Any]], kind: str, field: str = "text") -> str:
    parts = [part for item in output for part in item.get("content", []) if part["type"] == kind]
    return "".join(part[field] for part in parts)


@settings(max_examples=examples(20, 1000))
@given(st.lists(DELTAS, max_size=25), FINISHES)
def test_a_stream_is_numbered_and_loses_no_text(deltas, finish):
    try:
        events = played(deltas, finish)
    except UpstreamMalformed:
        return  # a call without a name
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    output = events[-1]["response"]["output"]
    assert texts_in(output, "output_text") == texts_of(deltas, "content")
    assert texts_in(output, "reasoning_text") == texts_of(deltas, "reasoning_content")
    assert texts_in(output, "refusal", "refusal") == texts_of(deltas, "refusal")
    done = {
        event["output_index"]: event["item"]
        for event in events
        if event["type"] == "response.output_item.done"
    }
    assert [done[index] for index in range(len(done))] == output


@settings(max_examples=examples(20, 1000))
@given(st.lists(DELTAS, max_size=25), FINISHES)
def test_the_sdk_accumulates_every_stream(deltas, finish):
    try:
        events = played(deltas, finish)
    except UpstreamMalformed:
        return
    output = events[-1]["response"]["output"]
    calls = [item["call_id"] for item in output if "call_id" in item]
    if len(set(calls)) < len(calls):
        return  # the SDK takes calls of one id for one call
    state = sdk_streams.ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    kind = openai.types.responses.ResponseStreamEvent
    for event in events:
        state.handle_event(openai._models.construct_type(type_=kind, value=event))
    assert [item.type for _, item in sorted(state._completed_output.items())] == [
        item["type"] for item in output
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "x", "text", "thinking"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["content", "tool_calls", "function", "function_call", "name", "arguments", "index"]
            )
            | st.sampled_from(
                ["id", "type", "text", "thinking", "reasoning", "reasoning_details", "refusal"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=examples(20, 1000))
@given(JSON, JSON)
def test_no_shape_of_an_answer_is_an_internal_error(delta, finish):
    stream = ResponseStream(shell())
    try:
        events = stream.event(chunk(delta, finish)) + stream.event(msgspec.json.encode({"choices": delta}))
        assert list(events_of(events + stream.end(None)))[-1]["type"].startswith("response.")
    except UpstreamMalformed:
        pass
    for choices in (delta, [{"message": delta, "finish_reason": finish}]):
        body = json.dumps({"choices": choices}).encode()
        assert json.loads(response_body(body, shell(), None))["object"] == "response"


def test_a_call_without_a_name_is_malformed():
    with pytest.raises(UpstreamMalformed, match="without a name"):
        played([call(0, arguments="{}")], "tool_calls")


def test_bytes_that_are_no_json_are_malformed():
    with pytest.raises(UpstreamMalformed):
        ResponseStream(shell()).event(b"{")
    with pytest.raises(UpstreamMalformed):
        response_body(b"{", shell(), None)
