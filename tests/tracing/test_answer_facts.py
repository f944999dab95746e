"""Tests what traces show of an answer beyond its record, and whose texts they never show."""

from __future__ import annotations

import json
from typing import Any

from kit.calls import chunk, make_call, sse

from flask_gateway.model.call import Call, Caller
from flask_gateway.model.reply import Reply
from flask_gateway.model.transcript import Passing
from flask_gateway.tracing import genai
from flask_gateway.tracing.answer_facts import AnswerFacts

BODY = {
    "id": "chatcmpl-1",
    "model": "m-2024",
    "choices": [{"message": {"content": "SAID"}, "finish_reason": "stop"}],
}
TEXTS = {genai.INPUT_MESSAGES, genai.OUTPUT_MESSAGES, genai.SYSTEM}


def begun(data: bytes) -> Reply:
    reply = Reply(None, Passing(), "one")  # type: ignore[arg-type]
    reply._pending = data
    return reply


def facts(call: Call, data: bytes | None, *, texts: bool = False) -> dict[str, Any]:
    return dict(AnswerFacts(texts=texts)(call, None if data is None else begun(data)))


def test_a_whole_answer_has_its_id_and_its_reasons() -> None:
    expected = {
        genai.RESPONSE_ID: "chatcmpl-1",
        genai.RESPONSE_MODEL: "m-2024",
        genai.FINISH_REASONS: ["stop"],
    }
    assert facts(make_call(), json.dumps(BODY).encode()) == expected
    message = {"id": "msg_1", "model": "claude", "stop_reason": "end_turn"}
    assert facts(make_call(), json.dumps(message).encode())[genai.FINISH_REASONS] == ["end_turn"]


def test_a_stream_has_the_id_of_its_first_event() -> None:
    assert facts(make_call(stream=True), sse(chunk("Hi")))[genai.RESPONSE_ID] == "chatcmpl-1"
    created = {"type": "response.created", "response": {"id": "resp_1", "model": "m"}}
    assert facts(make_call(stream=True), sse(created))[genai.RESPONSE_ID] == "resp_1"
    start = {"type": "message_start", "message": {"id": "msg_1", "model": "claude"}}
    named = b"event: message_start\n" + sse(start)
    assert facts(make_call(stream=True), named)[genai.RESPONSE_MODEL] == "claude"


def test_an_answer_that_cannot_be_read_has_no_facts() -> None:
    for data in (b"", b"{", b"[]", b'{"id": 3, "choices": 4}', b'{"id": ["x"]}'):
        assert facts(make_call(), data) == facts(make_call(stream=True), data) == {}
    assert facts(make_call(), None) == {}


def test_texts_need_both_switches_and_a_caller_who_allows_them() -> None:
    call, body = make_call(), json.dumps(BODY).encode()
    assert not TEXTS & facts(call, body).keys()
    shown = facts(call, body, texts=True)
    assert "Hello" in shown[genai.INPUT_MESSAGES]
    assert "SAID" in shown[genai.OUTPUT_MESSAGES]
    private = make_call(caller=Caller("quiet", 0, content=False))
    assert not TEXTS & facts(private, body, texts=True).keys()


def test_the_text_of_a_stream_is_not_collected() -> None:
    shown = facts(make_call(stream=True), sse(chunk("Hi")), texts=True)
    assert genai.INPUT_MESSAGES in shown
    assert genai.OUTPUT_MESSAGES not in shown
