"""Tests where the Responses API has its texts, and that repetitions say the same."""

from __future__ import annotations

from typing import Any

import pytest
from kit.plugins import inspections

from flask_gateway.plugins.response_texts import ResponseTexts


def event(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    where = {"item_id": "i", "output_index": 0, "content_index": 0}
    return {"type": f"response.{kind}", "sequence_number": number, **where, **fields}


def test_text_held_back_goes_out_before_the_text_is_done() -> None:
    texts = ResponseTexts(inspections())
    first = event("output_text.delta", 4, delta="AAAAA and", obfuscation="xyz", logprobs=[{"token": "A"}])
    assert texts.event(first) == []
    assert (first["delta"], first["logprobs"], first["obfuscation"]) == ("[x]", [], "")
    done = event("output_text.done", 5, text="AAAAA and", logprobs=[{"token": "A"}])
    (tail,) = texts.event(done)
    assert (tail["type"], tail["delta"], tail["sequence_number"]) == ("response.output_text.delta", " and", 5)
    assert (done["text"], done["sequence_number"], done["logprobs"]) == ("[x] and", 6, [])
    part = event("content_part.done", 6, part={"type": "output_text", "text": "AAAAA and"})
    texts.event(part)
    assert (part["part"]["text"], part["sequence_number"]) == ("[x] and", 7)


def test_the_last_event_repeats_what_passed_also_if_nothing_was_done() -> None:
    texts = ResponseTexts(inspections())
    texts.event(event("output_text.delta", 1, delta="AAAAA and"))
    message = {"type": "message", "content": [{"type": "output_text", "text": "AAAAA and"}]}
    response = {"output": [message]}
    (tail,) = texts.event({"type": "response.completed", "sequence_number": 2, "response": response})
    assert tail["delta"] == " and"
    assert response == {
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "[x] and"}]}]
    }
    assert texts.rest() == []


def test_a_text_that_only_ends_is_inspected() -> None:
    texts = ResponseTexts(inspections())
    done = event("function_call_arguments.done", 1, arguments='{"a": "AAAAA"}')
    assert texts.event(done) == []
    assert done["arguments"] == '{"a": "[x]"}'


@pytest.mark.parametrize(
    "item",
    [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "AAAAA"}]},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "AAAAA"}]},
        {"type": "message", "content": [{"type": "refusal", "refusal": "AAAAA"}]},
        {"type": "message", "content": "AAAAA"},
        {"type": "function_call", "arguments": "AAAAA"},
        {"type": "custom_tool_call", "input": "AAAAA"},
        {"type": "code_interpreter_call", "code": "AAAAA"},
    ],
)
def test_items(item: dict[str, Any]) -> None:
    texts = ResponseTexts(inspections())
    texts.event({"type": "response.output_item.done", "sequence_number": 1, "output_index": 0, "item": item})
    assert "AAAAA" not in str(item)
    assert "[x]" in str(item)
    assert texts.changed


def test_deltas_of_tomorrow_are_texts_and_sound_is_not() -> None:
    texts = ResponseTexts(inspections())
    new = event("new_kind.delta", 1, delta="AAAAA")
    texts.event(new)
    assert new["delta"] == "[x]"
    sound = event("audio.delta", 2, delta="AAAAA")
    texts.event(sound)
    assert sound["delta"] == "AAAAA"


def test_without_an_end_it_goes_out_at_the_end_of_the_stream() -> None:
    texts = ResponseTexts(inspections())
    texts.event(event("output_text.delta", 7, delta="abc"))
    (tail,) = texts.rest()
    assert (tail["delta"], tail["sequence_number"]) == ("abc", 8)
