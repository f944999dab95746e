"""Tests where chat and completions have their texts."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from kit.plugins import inspections

from flask_gateway.plugins.chat_texts import ChatTexts


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more}
    return {"id": "c1", "model": "m", "choices": [choice]}


def test_text_held_back_goes_out_before_the_finish_in_an_event_of_the_same_shape() -> None:
    texts = ChatTexts(inspections())
    first = chunk({"role": "assistant", "content": "AAA"})
    assert texts.event(first) == []
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    second = chunk({"content": "AA and more than that B"})
    assert texts.event(second) == []
    assert second["choices"][0]["delta"]["content"] == "[x] and more than th"
    last = chunk({}, "stop", logprobs=None)
    assert texts.event(last) == [chunk({"content": "at B"})]
    assert not texts.changed
    assert texts.rest() == []


def test_a_finish_with_content_carries_what_is_held_back() -> None:
    texts = ChatTexts(inspections())
    last = chunk({"content": "to AAAAA."}, "stop")
    assert texts.event(last) == []
    assert last["choices"][0]["delta"]["content"] == "to [x]."


def test_without_a_finish_it_goes_out_at_the_end() -> None:
    texts = ChatTexts(inspections())
    texts.event(chunk({"content": "abc"}))
    assert texts.rest() == [chunk({"content": "abc"})]


def test_logprobs_would_repeat_the_text() -> None:
    texts = ChatTexts(inspections())
    document = chunk({"content": "abc"}, logprobs={"content": [{"token": "abc"}]})
    texts.event(document)
    assert document["choices"][0]["logprobs"] is None
    assert texts.changed


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "AAAAA"},
        {"reasoning_content": "AAAAA"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "AAAAA", "index": 0}]},
        {"refusal": "AAAAA"},
        {"content": [{"type": "text", "text": "AAAAA"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "AAAAA"}]}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "AAAAA"}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "AAAAA"}}]},
        {"function_call": {"arguments": "AAAAA"}},
        {"audio": {"transcript": "AAAAA"}},
        {"a_field_of_tomorrow": {"deep": [{"said": "AAAAA"}]}},
    ],
)
def test_every_text_of_a_delta_is_inspected(delta: dict[str, Any]) -> None:
    for finish in (None, "stop"):
        texts, document = ChatTexts(inspections()), chunk(deepcopy(delta), finish)
        sent = [*texts.event(document), document, *texts.rest()]
        assert "AAAAA" not in str(sent), finish
        assert "[x]" in str(document)


def test_a_tail_has_the_shape_of_its_event() -> None:
    texts = ChatTexts(inspections())
    texts.event(
        chunk({"tool_calls": [{"index": 1, "id": "t", "function": {"name": "f", "arguments": "{}"}}]})
    )
    (tail,) = texts.rest()
    assert tail["choices"][0]["delta"] == {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}


def test_tools_of_a_whole_answer_are_told_apart() -> None:
    texts = ChatTexts(inspections())
    tools = [{"id": str(n), "type": "function", "function": {"arguments": f"AAAAA{n}"}} for n in range(2)]
    message = {"role": "assistant", "content": "CCCCC", "tool_calls": tools}
    document = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    texts.body(document)
    assert [tool["function"]["arguments"] for tool in tools] == ["[x]0", "[x]1"]  # type: ignore[index]
    assert message["content"] == "[x]"


@pytest.mark.parametrize(
    "document", [{}, {"choices": None}, {"choices": [None, 1]}, {"error": {"message": "AAAAA"}}]
)
def test_odd_documents_pass(document: dict[str, Any]) -> None:
    texts = ChatTexts(inspections())
    assert texts.event(document) == texts.rest() == []
    assert not texts.changed
