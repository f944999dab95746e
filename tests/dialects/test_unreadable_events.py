"""Tests events that cannot be read and events without data."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kit.calls import chunk, make_call, sse
from kit.replies import ScriptedSource
from kit.stream_events import ANSWER, read, stream

from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Operation, Outcome
from flask_gateway.model.errors import UpstreamCut
from flask_gateway.model.reply import Reply

# ------------------------------------------------------------------ events that cannot be read

MENDED: list[tuple[bytes, Any]] = [
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":[-Infinity]}]}', -9999.0),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":[NaN]}]}', None),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":[Infinity]}]}', None),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":["\\ud83d"]}]}', "\ud83d"),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":["\xff"]}]}', "\ufffd"),
    (b'{"choices":[{"index":0,"delta":{"content":"B"},"logprobs":["a\tb"]}]}', "a\tb"),
]


@pytest.mark.parametrize(("said", "value"), MENDED)
def test_text_next_to_an_odd_value_is_not_lost(said: bytes, value: Any) -> None:
    transcript = stream()
    out = read(transcript, sse(chunk("A"), said, chunk("C"), chunk(finish="stop")))
    second = json.loads(out.split(b"\n\n")[1].removeprefix(b"data: "))
    assert second["choices"][0] == {"index": 0, "delta": {"content": "B"}, "logprobs": [value]}
    assert transcript.dropped == 0
    assert msgspec.json.decode(out.split(b"\n\n")[2].removeprefix(b"data: "))


def test_half_an_emoji_passes_as_it_is() -> None:
    halves = [
        b'{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}',
    ]
    transcript = stream()
    assert read(transcript, sse(*halves, chunk(finish="stop"))).startswith(sse(*halves, done=False))
    assert transcript.dropped == 0


def test_a_body_with_an_odd_value_is_mended() -> None:
    said = (
        json.dumps(ANSWER)
        .encode()
        .replace(b'"finish_reason"', b'"logprobs": [-Infinity, NaN], "finish_reason"')
    )
    transcript = transcript_for(make_call(), "up")
    transcript.feed(said)
    assert msgspec.json.decode(transcript.end())["choices"][0]["logprobs"] == [-9999.0, None]


@pytest.mark.parametrize("said", [b"broken", b"keep-alive", b"[1]", b"7", b"<br>"])
def test_unreadable_events_are_dropped_and_counted(said: bytes) -> None:
    reply = Reply(
        ScriptedSource(sse(chunk("a"), said, done=False), sse(said, chunk(finish="stop"))),
        transcript_for(make_call(stream=True), "up"),
        "up",
    )
    told: list[Outcome] = []
    reply.on_close(told.append)
    assert b"".join(reply.prime()) == sse(chunk("a"), chunk(finish="stop"))
    assert [outcome.dropped for outcome in told] == [2]


# ------------------------------------------------------------------ events without data


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b"event: response.created\n\n", b""),
        (b"event: x\r\n\r\n", b""),
        (b"id: 7\n\n", b""),
        (b"retry: 3000\n\n", b""),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"data: \n\n", b""),
        (b"event: ping\ndata:\n\n", b""),
        (b"hello\n\n", b""),
        (b": ping\n\n", b": ping\n\n"),
        (b"event: ping\n: still here\n\n", b": still here\n\n"),
        (b'id: 7\ndata: {"choices":[]}\n\n', b'data: {"choices":[]}\n\n'),
        (b'event: x\nid: 7\nretry: 1\ndata: {"choices":[]}\n\n', b'event: x\ndata: {"choices":[]}\n\n'),
    ],
)
def test_an_event_without_data_reaches_nobody(event: bytes, left: bytes) -> None:
    begin, end = sse(chunk("a"), done=False), sse(chunk(finish="stop"))
    for pieces in (
        [begin, event, end],
        [begin + event + end],
        [begin, *(bytes([byte]) for byte in event), end],
    ):
        transcript = stream()
        assert read(transcript, *pieces) == begin + left + end
        assert transcript.dropped == 0


def test_names_without_their_data_are_left_out() -> None:
    said = (
        b'event: response.created\n\ndata: {"type":"response.created","response":{"id":"r1"}}\n\n'
        b'event: response.output_text.delta\n\ndata: {"type":"response.output_text.delta","delta":"B"}\n\n'
        b'event: response.completed\n\ndata: {"type":"response.completed","response":{"output":[]}}\n\n'
    )
    out = read(stream(Operation.RESPONSE), said)
    assert out == b"".join(part + b"\n\n" for part in said.split(b"\n\n") if part.startswith(b"data"))


# ------------------------------------------------------------------ text that is no JSON


@pytest.mark.parametrize("text", [b"Error: upstream closed", b"<html>504</html>", b"boom"])
def test_text_that_is_no_json_before_done_and_no_finish_reason_is_a_cut(text: bytes) -> None:
    transcript = stream()
    with pytest.raises(UpstreamCut):
        read(transcript, sse(chunk("half"), text))
    assert transcript.dropped == 1


@pytest.mark.parametrize("text", [b"ping", b": keep-alive", b"null", b'"[DONE]"', b"[done]", b"PING "])
def test_text_that_only_keeps_a_stream_open_loses_nothing(text: bytes) -> None:
    assert read(stream(), sse(text, chunk("all"), text)) == sse(chunk("all"))


@pytest.mark.parametrize("reason", ["in_progress", "streaming", "running", "continue", " Null "])
def test_a_finish_reason_that_says_not_yet_finishes_nothing(reason: str) -> None:
    with pytest.raises(UpstreamCut):
        read(stream(), sse(chunk("ha"), chunk("lf", reason), done=False))
