"""Tests buffered streams: the caller receives the complete answer or an error."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from kit.calls import ROLE, chunk, make_call, sse
from kit.replies import ScriptedSource

from flask_gateway.dialects.buffered_transcript import MAX_WHOLE
from flask_gateway.dialects.openai import PING_EVENT
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Call, Outcome
from flask_gateway.model.errors import (
    CallerLeft,
    GatewayError,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamTimeout,
    Verdict,
)
from flask_gateway.model.reply import Reply
from flask_gateway.routing.dispatcher import Candidate, Dispatcher
from flask_gateway.streaming.buffered import BufferedStreams, PendingReply

ANSWER = sse(ROLE, chunk("Hel"), chunk("lo"), chunk(finish="stop"))


def whole_call(**more: Any) -> Call:
    return msgspec.structs.replace(make_call(stream=True, **more), whole=True)


class Scripted:
    """An upstream that answers with the transcripts of the real ones.

    :param gate: is waited for before it answers.
    """

    def __init__(self, name: str, *script: bytes | Exception, gate: threading.Event | None = None) -> None:
        self.name = name
        self.gate = gate
        self.source = ScriptedSource(*script)
        self.told: list[Outcome] = []
        self.asked: list[Call] = []

    def send(self, call: Call) -> Reply:
        self.asked.append(call)
        if self.gate:
            detach = call.cancellation.attach(self.gate.set)
            assert self.gate.wait(10)
            detach()
        if call.cancellation.error:
            raise call.cancellation.error
        reply = Reply(self.source, transcript_for(call, self.name), self.name)
        reply.on_close(self.told.append)
        return reply


def through(*upstreams: Scripted) -> Dispatcher:
    return Dispatcher(lambda call: iter([Candidate(u, call.model) for u in upstreams]))


def waiting(*upstreams: Scripted, ping: float = 5.0) -> BufferedStreams:
    return BufferedStreams(through(*upstreams), ping=ping, threads=2)


# ------------------------------------------------------------------ held back


def test_a_cut_anywhere_fails_over_and_leaves_no_trace() -> None:
    words = sse(ROLE, *(chunk(f"never {n} ") for n in range(10)), chunk(finish="stop"))
    assert len(words) > 1800
    for at in range(words.rindex(b"\n\ndata: [DONE]")):
        for cut in ((UpstreamCut("cut"),), ()):
            broken = Scripted("a", words[:at], *cut)
            reply = through(broken, Scripted("b", ANSWER)).send(whole_call())
            assert (b"".join(reply), reply.upstream) == (ANSWER, "b"), at
            assert [outcome.usage for outcome in broken.told] == [None]


def test_a_cut_without_another_upstream_has_its_true_status() -> None:
    with pytest.raises(UpstreamCut):
        waiting(Scripted("a", ANSWER[:-80], UpstreamCut("cut"))).send(whole_call())


def test_the_buffer_is_bounded() -> None:
    long = sse(*[chunk("x" * 100_000)] * (MAX_WHOLE // 100_000 + 1))
    with pytest.raises(UpstreamMalformed):
        through(Scripted("a", long)).send(whole_call())


def test_it_arrives_in_one_piece_and_counts_as_a_stream() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    said = sse(chunk("a"), chunk(finish="stop"), {"choices": [], "usage": usage})
    upstream = Scripted("a", *[said[n : n + 7] for n in range(0, len(said), 7)])
    reply = waiting(upstream).send(whole_call())
    assert upstream.source.script == []
    assert list(reply) == [said]
    assert [
        (outcome.verdict, outcome.usage.completion_tokens) for outcome in upstream.told if outcome.usage
    ] == [(Verdict.SUCCESS, 4)]


def test_content_shows_that_it_has_begun_before_it_is_ready() -> None:
    transcript = transcript_for(whole_call(), "a")
    transcript.feed(sse(ROLE, done=False))
    assert not transcript.begun
    transcript.feed(sse(chunk("a"), done=False))
    assert transcript.begun
    assert not transcript.ready


# ------------------------------------------------------------------ waited for


def late(*script: bytes | Exception) -> tuple[Reply, Scripted, threading.Event, list[Outcome]]:
    """Return a pending reply, and the event that releases its answer."""
    gate = threading.Event()
    upstream = Scripted("a", *script, gate=gate)
    reply = waiting(upstream, ping=0.02).send(whole_call())
    assert isinstance(reply, PendingReply)
    told: list[Outcome] = []
    reply.on_close(told.append)
    return reply, upstream, gate, told


def test_a_failure_after_the_commit_is_an_error_event_without_done() -> None:
    reply, _, gate, told = late(ANSWER[:-80], UpstreamTimeout("late", upstream="a"))
    assert (reply.status, reply.transcript.content_type) == (200, "text/event-stream; charset=utf-8")
    assert next(reply) == PING_EVENT
    gate.set()
    said = [part for part in reply if part != PING_EVENT]
    assert len(said) == 1
    assert json.loads(said[0].removeprefix(b"data: "))["error"]["code"] == "upstream_timeout"
    reply.close()
    assert [(outcome.verdict, type(outcome.error)) for outcome in told] == [
        (Verdict.FAILURE, UpstreamTimeout)
    ]
    assert reply.upstream == "a"


def test_an_internal_error_after_the_commit_is_an_error_event() -> None:
    reply, _, gate, told = late(RuntimeError("bug"))
    gate.set()
    assert b'"internal_error"' in b"".join(reply)
    assert [outcome.verdict for outcome in told] == [Verdict.IGNORED]


def test_pings_are_sent_until_the_answer_arrives() -> None:
    reply, upstream, gate, told = late(ANSWER)
    assert [next(reply) for _ in range(3)] == [PING_EVENT] * 3
    gate.set()
    assert b"".join(part for part in reply if part != PING_EVENT) == ANSWER
    reply.close()
    assert reply.upstream == "a"
    assert [outcome.verdict for outcome in told] == [Verdict.SUCCESS]
    assert told[0].usage is not None
    assert [outcome.verdict for outcome in upstream.told] == [Verdict.SUCCESS]
    assert upstream.source.released == 1


def test_a_caller_who_leaves_cancels_the_call() -> None:
    reply, upstream, _, told = late(ANSWER)
    next(reply)
    reply.close()
    reply.close()
    assert [outcome.verdict for outcome in told] == [Verdict.IGNORED]
    assert isinstance(upstream.asked[0].cancellation.error, CallerLeft)
    assert list(reply) == []


def test_an_answer_that_comes_after_the_caller_has_left_is_closed() -> None:
    reply, upstream, gate, _ = late(ANSWER)
    gate.set()
    while not reply._source._answer.done():  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
    reply.close()
    assert [outcome.verdict for outcome in upstream.told] == [Verdict.IGNORED]
    assert upstream.asked[0].cancellation.error is None


def test_calls_that_wait_for_a_thread_get_pings() -> None:
    gate = threading.Event()
    service = waiting(Scripted("a", gate=gate), ping=0.01)
    first = [service.send(whole_call()) for _ in range(2)]
    queued = service.send(whole_call())
    assert [next(reply) for reply in [*first, queued]] == [PING_EVENT] * 3
    queued.close()  # never began
    gate.set()
    for reply in first:
        assert b"upstream_stream_cut" in b"".join(reply)


@pytest.mark.parametrize("stream", [True, False])
def test_other_calls_stay_on_their_thread(stream: bool) -> None:
    threads: list[int] = []

    class Noting:
        name = "noting"

        def send(self, call: Call) -> Reply:
            threads.append(threading.get_ident())
            raise GatewayError("no")

    with pytest.raises(GatewayError):
        BufferedStreams(Noting()).send(make_call(stream=stream))
    assert threads == [threading.get_ident()]


# ------------------------------------------------------------------ asked for


def ask(client: FlaskClient, mode: str, *, stream: bool = True) -> Any:
    from kit.calls import AUTH, chat

    headers = {**AUTH, "x-gateway-stream": mode}
    return client.post("/v1/chat/completions", json=chat("mock", stream=stream), headers=headers)


@pytest.mark.parametrize("mode", ["Whole", "all", "whole, live"])
def test_another_mode_is_refused(client: FlaskClient, mode: str) -> None:
    response = ask(client, mode)
    assert response.status_code == 400
    assert response.json["error"]["param"] == "x-gateway-stream"


@pytest.mark.parametrize("mode", ["whole", "live"])
def test_both_modes_return_the_same_answer(make_client: Callable[..., FlaskClient], mode: str) -> None:
    response = ask(make_client(), mode)
    events = response.data.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    assert response.headers["x-gateway-upstream"] == "mock"


def test_an_answer_that_is_no_stream_ignores_the_mode(client: FlaskClient) -> None:
    assert ask(client, "whole", stream=False).json["object"] == "chat.completion"
