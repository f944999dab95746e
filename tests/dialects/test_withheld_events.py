"""Tests that events wait while their text may become the gateway's own key."""

from __future__ import annotations

import pytest
from kit.calls import chunk, make_call, sse

from flask_gateway.dialects.redaction import Redaction, WatchfulTally
from flask_gateway.dialects.stream_transcript import StreamTranscript
from flask_gateway.dialects.withheld_events import MAX_WITHHELD, WithheldEvents
from flask_gateway.model.errors import UpstreamMalformed

KEY = "sk-proj-4Zq8/Tn+w2=Kd0Vx_9Lb"


def withheld() -> WithheldEvents:
    return WithheldEvents(WatchfulTally(Redaction(KEY)))


def test_events_wait_while_the_text_may_become_the_key_and_then_pass_together() -> None:
    events = withheld()
    events.tally.add("It is " + KEY[:10])
    assert events.add(b"1", last=False) == b""
    events.tally.add(" no key")
    assert events.add(b"2", last=False) == b"12"
    assert events.held == b""


def test_events_that_spell_out_the_key_never_pass() -> None:
    events = withheld()
    events.tally.add(KEY[:10])
    assert events.add(b"1", last=False) == b""
    events.tally.add(KEY[10:])
    assert events.add(b"2", last=True) is None
    assert events.held == b""


def test_the_last_event_and_too_many_bytes_release_what_waits() -> None:
    events = withheld()
    events.tally.add(KEY[:10])
    assert events.add(b"1", last=True) == b"1"
    assert events.add(b"2" * MAX_WITHHELD, last=False) == b""
    assert events.add(b"3", last=False) == b"2" * MAX_WITHHELD + b"3"


def transcript() -> StreamTranscript:
    return StreamTranscript(make_call(stream=True), "up", redaction=Redaction.of(KEY))


def test_a_stream_that_spells_out_the_key_in_pieces_breaks() -> None:
    stream = transcript()
    assert stream.feed(sse(chunk("Hello "), done=False)) != b""
    assert stream.feed(sse(chunk(KEY[:12]), done=False)) == b""
    with pytest.raises(UpstreamMalformed, match="spells out the gateway's own key"):
        stream.feed(sse(chunk(KEY[12:]), done=False))


def test_a_stream_that_ends_in_a_beginning_of_the_key_loses_nothing() -> None:
    stream, said = transcript(), sse(chunk("Hello "), chunk(KEY[:12]), chunk(finish="stop"))
    assert stream.feed(said) + stream.end() == said
