"""Tests kept answers as replies, and the capture of new ones."""

from __future__ import annotations

import pytest
from kit.cached import entry
from kit.calls import make_call
from kit.replies import PlainTranscript, ScriptedSource

from flask_gateway.cache.policy import MOST_KEPT
from flask_gateway.cache.replay import Capture, replayed
from flask_gateway.model.errors import UpstreamCut
from flask_gateway.model.reply import Reply


@pytest.mark.parametrize("body", [b"data: 1\n\ndata: [DONE]\n\n", b""])
def test_a_kept_answer_is_a_reply_with_all_of_its_bytes(body: bytes) -> None:
    reply = replayed(make_call(stream=True), entry(body))
    assert b"".join(reply) == body
    assert reply.outcome is not None
    assert reply.outcome.verdict.value == "success"
    reply.close()


def test_the_relay_takes_it_without_a_thread() -> None:
    reply = replayed(make_call(stream=True), entry(b"data: 1\n\n"))
    channel = reply.channel
    assert channel is not None
    channel.unblock()
    channel.expire()
    assert (channel.fileno(), channel.holds) == (-1, True)
    assert reply.receive() == b"data: 1\n\n"
    assert reply.over
    assert reply.receive() == b""
    assert reply.outcome is not None


def test_it_has_words_for_an_error_and_a_ping() -> None:
    transcript = replayed(make_call(stream=True), entry()).transcript
    assert b"error" in transcript.cut(UpstreamCut("cut"))
    assert transcript.ping
    assert replayed(make_call(), entry()).transcript.ping == b""


def test_a_capture_changes_nothing_and_has_it_all() -> None:
    reply = Reply(ScriptedSource(b"a-", b"b"), PlainTranscript(), "one").prime()
    capture = Capture(reply.transcript)
    reply.retell(capture)
    capture.postpones = True
    assert b"".join(reply) == b"ab."
    assert capture.body == b"ab."
    assert (capture.postpones, capture.ready, capture.dropped, capture.complete) == (True, True, 0, False)
    assert capture.usage is not None
    assert (capture.content_type, capture.ping) == ("text/plain", b": ping\n\n")
    assert capture.catch_up() == b""
    assert capture.cut(UpstreamCut("x")) == b"<upstream_stream_cut>"


def test_a_capture_holds_little_of_a_large_answer() -> None:
    capture = Capture(PlainTranscript())
    for _ in range(40):
        capture.feed(b"x" * 100_000)
    assert MOST_KEPT < len(capture.body) < MOST_KEPT + 200_000
