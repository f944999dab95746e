"""Tests where Google's Gemini API has its texts."""

from __future__ import annotations

from typing import Any

from kit.plugins import inspections

from flask_gateway.plugins.gemini_texts import GeminiTexts


def answer(*parts: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"parts": list(parts), "role": "model"}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "m"}


def test_text_held_back_goes_out_before_the_finish() -> None:
    texts = GeminiTexts(inspections())
    assert texts.event(answer({"text": "think", "thought": True}, {"text": "AAAAA and"})) == []
    last = answer(finish="STOP")
    events = texts.event(last)
    parts = [event["candidates"][0]["content"]["parts"][0] for event in events]
    assert parts == [{"thought": True, "text": "hink"}, {"text": " and"}]
    assert events[0]["modelVersion"] == "m"
    assert texts.rest() == []


def test_a_finish_with_text_carries_it() -> None:
    texts = GeminiTexts(inspections())
    last = answer({"text": "AAAAA and"}, finish="STOP")
    assert texts.event(last) == []
    assert last["candidates"][0]["content"]["parts"] == [{"text": "[x] and"}]


def test_without_a_finish_it_goes_out_at_the_end() -> None:
    texts = GeminiTexts(inspections())
    texts.event(answer({"text": "abc"}))
    (event,) = texts.rest()
    assert event["candidates"][0]["content"]["parts"] == [{"text": "abc"}]


def test_a_whole_answer() -> None:
    texts = GeminiTexts(inspections())
    call, code = {"functionCall": {"args": {"a": "AAAAA"}}}, {"executableCode": {"code": "BBBBB"}}
    document = answer({"text": "CCCCC"}, call, code, finish="STOP")
    document["candidates"][0]["logprobsResult"] = {"chosenCandidates": [{"token": "C"}]}
    texts.body(document)
    assert document["candidates"][0]["content"]["parts"] == [
        {"text": "[x]"},
        {"functionCall": {"args": {"a": "[x]"}}},
        {"executableCode": {"code": "[x]"}},
    ]
    assert document["candidates"][0]["logprobsResult"] is None
    assert texts.changed
