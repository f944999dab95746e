"""Tests the texts of spans: the convention's shapes, a bounded length, and JSON that stays whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.calls import make_call

from flask_gateway.tracing.content import MOST, input_messages, instructions, output_messages


def asked(**fields: Any) -> Any:
    text = input_messages(make_call(**fields).decoded)
    assert text is not None
    assert len(text.encode()) <= MOST + 200  # and the note of what is left out
    return json.loads(text)


def text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


def test_chat_messages_have_roles_and_parts() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    picture = {"type": "image_url", "image_url": {"url": "https://pictures.test/secret"}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "A cat."},
    ]
    assert asked(messages=messages) == [
        {"role": "system", "parts": [text("Be kind.")]},
        {"role": "user", "parts": [text("What is it?"), {"type": "image_url"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "look", "arguments": '{"a":1}'}],
        },
        {"role": "tool", "parts": [text("A cat.")]},
    ]


def test_other_apis_have_the_same_shape() -> None:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "A cat."},
    ]
    call = make_call(input=items, system=[{"type": "text", "text": "Be kind."}])
    fields = {name: value for name, value in call.fields.items() if name != "messages"}
    assert [one["parts"][0]["type"] for one in json.loads(input_messages(_reader(fields)) or "")] == [
        "text",
        "tool_call",
        "tool_call_response",
    ]
    assert json.loads(instructions(call.decoded) or "") == [text("Be kind.")]
    anthropic = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "4"}]}]
    expected = {"type": "tool_call_response", "id": "t", "response": "4"}
    assert asked(messages=anthropic) == [{"role": "user", "parts": [expected]}]


def _reader(fields: Any) -> Any:
    return lambda name, longest: json.loads(bytes(fields[name])) if name in fields else None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            {"choices": [{"message": {"content": "Hi"}, "finish_reason": "length"}]},
            "length",
        ),
        ({"choices": [{"text": "Hi", "finish_reason": "stop"}]}, "stop"),
        (
            {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"},
            "end_turn",
        ),
        ({"output": [{"type": "message", "content": [{"text": "Hi"}]}], "status": "completed"}, "completed"),
    ],
)
def test_answers_have_their_reasons(answer: object, reason: str) -> None:
    (message,) = json.loads(output_messages(json.dumps(answer).encode()) or "")
    assert message == {"role": "assistant", "parts": [text("Hi")], "finish_reason": reason}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": []}', b'{"choices": 3}', b"x" * 2_000_000])
def test_a_body_without_an_answer_has_no_messages(body: bytes) -> None:
    assert output_messages(body) is None


def test_a_long_conversation_is_cut_and_stays_json() -> None:
    messages = [{"role": "user", "content": f"{number} " + "ö" * 5000} for number in range(100)]
    first, *others = asked(messages=messages)
    assert "are left out" in first["parts"][0]["content"]
    assert others[-1]["parts"][0]["content"].startswith("99 ")
    assert others[-1]["parts"][0]["content"].endswith("ö…")


NAMES = st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "id"])
ANY_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)


@given(st.lists(ANY_JSON, max_size=5))
def test_no_request_breaks_it(messages: list[Any]) -> None:
    json.loads(input_messages(make_call(messages=messages).decoded) or "null")
    output_messages(json.dumps({"choices": messages, "content": messages}).encode())
    output_messages(json.dumps({"output": messages}).encode())
