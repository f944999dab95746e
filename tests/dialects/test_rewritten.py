"""Tests answers that pass on in another API: the inner transcript judges, the rewriter only says it."""

from __future__ import annotations

import pytest
from kit.calls import chunk, make_call, sse

from flask_gateway.dialects.body_transcript import BodyTranscript
from flask_gateway.dialects.rewritten import RewrittenBody, RewrittenStream
from flask_gateway.dialects.stream_transcript import StreamTranscript
from flask_gateway.dialects.table import dialect_of
from flask_gateway.model.call import Operation, Usage
from flask_gateway.model.errors import GatewayError, UpstreamCut, UpstreamError, UpstreamMalformed

CHAT, MESSAGES = dialect_of(Operation.CHAT), dialect_of(Operation.MESSAGE)


class Numbering:
    """A rewriter that numbers events. It cannot say an event that contains ``unsayable``."""

    def __init__(self) -> None:
        self.events = 0

    def body(self, data: bytes, usage: Usage | None) -> bytes:
        return b"<%b>" % data

    def event(self, data: bytes) -> bytes:
        if b"unsayable" in data:
            raise UpstreamMalformed("The caller's API cannot say that. Send the request again.")
        self.events += 1
        return b"<%d>" % self.events

    def end(self, usage: Usage | None) -> bytes:
        return b"<end>"

    def cut(self, error: GatewayError) -> bytes:
        return b"<cut>"


def refusal(error: UpstreamError) -> UpstreamError:
    return UpstreamCut(f"translated: {error.message}")


def stream() -> RewrittenStream:
    inner = StreamTranscript(make_call(stream=True), "up")
    return RewrittenStream(inner, Numbering(), refusal, CHAT, MESSAGES)


def test_each_event_is_rewritten_and_the_last_ones_come_once() -> None:
    transcript = stream()
    assert transcript.feed(sse(chunk("a"), done=False)) == b"<1>"
    assert transcript.feed(sse(chunk("b"), chunk(finish="stop"))) == b"<2><3><end>"
    assert transcript.finished
    assert transcript.end() == b""
    assert transcript.ping == MESSAGES.ping


def test_a_fault_of_the_upstream_is_worded_for_the_caller() -> None:
    transcript = stream()
    transcript.feed(sse(chunk("a"), done=False))
    with pytest.raises(UpstreamCut, match="translated: "):
        transcript.end()
    assert transcript.cut(UpstreamCut("x")) == b"<cut>"


def test_events_before_one_that_cannot_be_said_are_not_lost() -> None:
    transcript = stream()
    with pytest.raises(UpstreamMalformed, match="cannot say that"):
        transcript.feed(sse(chunk("a"), chunk("unsayable"), done=False))
    assert transcript.cut(UpstreamCut("x")) == b"<1><cut>"


def body() -> RewrittenBody:
    return RewrittenBody(BodyTranscript(make_call(), "up"), Numbering(), refusal)


def test_a_document_is_rewritten_when_it_is_complete() -> None:
    transcript = body()
    answer = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}'
    assert transcript.feed(answer) == b""
    assert not transcript.ready
    assert transcript.end() == b"<%b>" % answer
    assert transcript.ready


def test_a_document_that_is_no_answer_is_worded_for_the_caller() -> None:
    transcript = body()
    transcript.feed(b"<html>")
    with pytest.raises(UpstreamError, match="translated: "):
        transcript.end()
