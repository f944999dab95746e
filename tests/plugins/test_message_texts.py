"""Tests where Anthropic's Messages have their texts."""

from __future__ import annotations

from typing import Any

from kit.plugins import inspections

from flask_gateway.plugins.message_texts import MessageTexts


def delta(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def test_text_held_back_goes_out_before_the_block_stops() -> None:
    texts = MessageTexts(inspections())
    texts.event({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}})
    texts.event(delta(1, type="text_delta", text="abc"))
    stop = {"type": "content_block_stop", "index": 1}
    assert texts.event(stop) == [delta(1, type="text_delta", text="abc")]
    assert texts.event({"type": "message_stop"}) == []


def test_without_a_stop_it_goes_out_before_the_message_ends() -> None:
    texts = MessageTexts(inspections())
    texts.event(delta(type="input_json_delta", partial_json="{}"))
    texts.event(delta(1, type="thinking_delta", thinking="x"))
    assert texts.event({"type": "message_delta", "delta": {}}) == [
        delta(type="input_json_delta", partial_json="{}"),
        delta(1, type="thinking_delta", thinking="x"),
    ]


def test_texts_that_come_with_a_start() -> None:
    texts = MessageTexts(inspections())
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {"note": "AAAAA"}}
    texts.event({"type": "content_block_start", "index": 0, "content_block": tool})
    assert tool["input"] == {"note": "[x]"}
    message = {"content": [{"type": "text", "text": "AAAAA"}]}
    texts.event({"type": "message_start", "message": message})
    assert message == {"content": [{"type": "text", "text": "[x]"}]}


def test_quotes_are_inspected_and_signatures_are_not() -> None:
    texts = MessageTexts(inspections())
    citation = {"type": "char_location", "cited_text": "AAAAA"}
    texts.event(delta(type="citations_delta", citation=citation))
    assert citation["cited_text"] == "[x]"
    signature = delta(type="signature_delta", signature="AAAAA")
    texts.event(signature)
    assert not texts.changed


def test_a_whole_answer() -> None:
    texts = MessageTexts(inspections())
    cited = {"type": "text", "text": "BBBBB", "citations": [{"cited_text": "CCCCC"}]}
    tool = {"type": "tool_use", "input": {"note": "DDDDD"}}
    content = [{"type": "thinking", "thinking": "AAAAA"}, cited, tool]
    texts.body({"content": content})
    assert content == [
        {"type": "thinking", "thinking": "[x]"},
        {"type": "text", "text": "[x]", "citations": [{"cited_text": "[x]"}]},
        {"type": "tool_use", "input": {"note": "[x]"}},
    ]
    assert texts.changed
