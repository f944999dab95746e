"""Tests the transcript around a stream by itself: slow texts, cuts, and events that are left alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from kit.plugins import BAD, Masking, inspections

from flask_gateway.model.call import Operation
from flask_gateway.model.errors import Blocked, GatewayError, PluginFailed, UpstreamCut
from flask_gateway.model.source import Postponed
from flask_gateway.model.transcript import Passing
from flask_gateway.plugins.inspected import InspectedBody, InspectedStream, inspected
from flask_gateway.plugins.loaded import Loaded
from flask_gateway.testing import call_of, loaded
from flask_gateway.testing.answers import events_of

#: The event of an error.
CUT = b'data: {"error":{}}\n\n'


class Passed(Passing):
    """A transcript that passes bytes, and postpones nothing by itself."""

    ready, usage, content_type, ping = True, None, "text/event-stream", b""

    def cut(self, error: GatewayError) -> bytes:
        return CUT


def stream(plugin: Loaded, inner: Any = None) -> InspectedStream:
    opened = inspections(plugin)
    made = inspected(call_of(stream=True), inner or Passed(), opened)
    assert isinstance(made, InspectedStream)
    return made


def said(text: str) -> bytes:
    return events_of(Operation.CHAT, [("content", [text])]).removesuffix(b"data: [DONE]\n\n")


def test_after_a_slow_text_the_relay_is_spared_until_one_is_quick() -> None:
    plugin = loaded(Masking)
    made = stream(plugin)
    made.postpones = True
    assert made.feed(said("first of all"))
    plugin.delays = True
    with pytest.raises(Postponed):
        made.feed(said("AAAAA and more"))
    assert b"[x]" in made.catch_up()
    assert not plugin.delays, "it was quick"
    assert made.feed(said("last"))


def test_events_before_a_block_in_the_same_read_are_still_sent() -> None:
    made = stream(loaded(Masking))
    assert b"a long" in made.feed(said("a long beginning"))
    chunks = events_of(Operation.CHAT, [("content", ["and some ", BAD])])
    with pytest.raises(Blocked) as caught:
        made.feed(chunks)
    sent = made.cut(caught.value)
    assert b'"content":"a"' in sent
    assert sent.endswith(CUT)
    assert made.cut(caught.value) == CUT


class Cutting(Passed):
    """It has read further events when it breaks off."""

    def __init__(self) -> None:
        self.unsent = said("AAAAA and ")

    def cut(self, error: GatewayError) -> bytes:
        unsent, self.unsent = self.unsent, b""
        return unsent + CUT


def test_events_that_come_with_a_fault_are_inspected_too() -> None:
    made = stream(loaded(Masking), Cutting())
    made.feed(said("a long beginning "))
    sent = made.cut(UpstreamCut("cut", upstream="llama"))
    assert b"AAAAA" not in sent
    inner = Cutting()
    inner.unsent = said(BAD)
    made = stream(loaded(Masking), inner)
    assert BAD.encode() not in made.cut(UpstreamCut("cut", upstream="llama"))


def test_comments_pass_and_what_nobody_can_read_does_not() -> None:
    made = stream(loaded(Masking))
    assert made.feed(b": ping\n\n") == b": ping\n\n"
    assert made.feed(b"data: AAAAA\n\n") == b""


def test_an_event_without_a_change_passes_as_it_is() -> None:
    made = stream(loaded(partial(Masking, bad="x")))
    odd = b'data:  {"choices" : [ ],"usage":{"total_tokens": 1}}\n\n'
    assert made.feed(odd) == odd


def test_the_operations_without_texts_are_left_alone() -> None:
    assert inspected(call_of(Operation.EMBEDDING), Passed(), inspections()) is None


def test_a_whole_answer_that_nobody_can_read_is_refused() -> None:
    made = inspected(call_of(), Passed(), inspections())
    assert isinstance(made, InspectedBody)
    with pytest.raises(PluginFailed):
        made.restate(b"[1]")
    made = inspected(call_of(), Passed(), inspections())
    assert made is not None
    made.feed(b'{"choices": []}')
    assert made.end() == b'{"choices": []}'
