"""Tests answers in one document where events were asked for, and the reverse."""

from __future__ import annotations

import json

import pytest
from kit.calls import make_call
from kit.stream_events import ANSWER, read, stream

from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamCut, UpstreamMalformed


@pytest.mark.parametrize("text", [json.dumps(ANSWER), json.dumps(ANSWER, indent=1) + "\n"])
@pytest.mark.parametrize("hides", [True, False])
def test_an_answer_in_one_piece_becomes_the_stream_that_was_asked_for(text: str, hides: bool) -> None:
    transcript = stream(hides=hides)
    out = read(transcript, text[:9].encode(), text[9:].encode())
    events = [event.removeprefix(b"data: ") for event in out.split(b"\n\n")[:-1]]
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[0]["choices"][0]["delta"]["content"] == "fine"
    assert chunks[0]["choices"][0]["finish_reason"] == "stop"
    assert [one.get("usage") for one in chunks[1:]] == ([] if hides else [ANSWER["usage"]])
    assert transcript.usage is not None
    assert (transcript.usage.prompt_tokens, transcript.usage.source) == (3, "reported")


def test_a_call_of_tools_in_one_piece_becomes_deltas() -> None:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in (0, 1)
    ]
    said = {
        "choices": [{"index": 0, "message": {"content": None, "tool_calls": calls}, "finish_reason": "x"}]
    }
    out = read(stream(), json.dumps(said).encode())
    delta = json.loads(out.split(b"\n\n")[0].removeprefix(b"data: "))["choices"][0]["delta"]
    assert delta == {"tool_calls": [{"index": 0, **calls[0]}, {"index": 1, **calls[1]}]}


def test_a_response_in_one_piece_becomes_events() -> None:
    output = [{"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "fine"}]}]
    said = {
        "id": "r1",
        "status": "completed",
        "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    transcript = stream(Operation.RESPONSE)
    out = read(transcript, json.dumps(said).encode())
    kinds = [json.loads(event.split(b"data: ")[1])["type"] for event in out.split(b"\n\n")[:-1]]
    assert kinds == ["response.created", "response.output_text.delta", "response.completed"]
    assert transcript.usage is not None
    assert transcript.usage.completion_tokens == 2


@pytest.mark.parametrize(
    "said", [b"<b>\n\n</b>", b"hello", b'{"ok": true}', b'"text"', b"[1]", b'{"choices": []}']
)
def test_bytes_that_are_neither_events_nor_json_are_malformed_or_cut(said: bytes) -> None:
    with pytest.raises((UpstreamMalformed, UpstreamCut)):
        read(stream(), said)


@pytest.mark.parametrize("said", [b'data: {"a":1}\n\n', b": ping\n\n", b"event: x\ndata: {}\n\n"])
def test_events_where_none_were_asked_for_are_refused_at_once(said: bytes) -> None:
    with pytest.raises(UpstreamMalformed, match="event stream"):
        transcript_for(make_call(), "up").feed(said)


def test_a_byte_order_mark_before_a_body_is_no_part_of_it() -> None:
    transcript = transcript_for(make_call(), "up")
    transcript.feed(b"\xef\xbb\xbf" + json.dumps(ANSWER).encode())
    assert transcript.end() == json.dumps(ANSWER).encode()
