"""Messages that pass in a session or do not, and how its responses are counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.replies import PlainTranscript, ScriptedSource

from flask_gateway.model.call import Call, Operation, Outcome
from flask_gateway.model.errors import CallerLeft, GatewayError, InvalidField, InvalidJson, RateLimited
from flask_gateway.model.reply import Reply
from flask_gateway.realtime.frames import PING, TEXT, CallerFrames, Message, frame
from flask_gateway.realtime.session import MOST_TURNS, LiveSession
from flask_gateway.realtime.turns import Turn, TurnReply

USAGE = {"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cached_tokens": 4}}


class FakeDesk:
    """Admits everything but what ``refusal`` says, and notes how each response ended."""

    def __init__(self) -> None:
        self.refusal: GatewayError | None = None
        self.asked: list[str] = []
        self.outcomes: list[Outcome] = []

    def open(self, model: str) -> Reply:
        return Reply(ScriptedSource(b""), PlainTranscript(), "live", f"live-{model}")

    def admit(self, model: str, fields: Mapping[str, msgspec.Raw], upstream: str) -> Turn:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(model)
        call: Call = msgspec.structs.replace(make_call(f"live-{model}"), fields=fields)
        reply = TurnReply(call, upstream, 1)
        reply.on_settled(self.outcomes.append)
        return Turn(reply)


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
def realtime(desk: FakeDesk) -> LiveSession:
    session = LiveSession(desk, Operation.REALTIME, "voice")
    session.opened(desk.open("voice"))
    return session


def message(**event: Any) -> Message:
    (read,) = CallerFrames(10**7).feed(frame(TEXT, json.dumps(event).encode(), masked=True))
    return read


def said(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def begun(name: str) -> bytes:
    return said("response.created", response={"id": name})


def done(name: str, usage: Any = USAGE) -> bytes:
    return said("response.done", response={"id": name, "usage": usage})


def create(session: LiveSession, **more: Any) -> None:
    session.decided(session.decide(message(type="response.create", **more)))


def test_only_what_may_not_pass_waits_for_a_thread(realtime: LiveSession):
    assert realtime.decides(message(type="response.create"))
    assert realtime.decides(message(type="session.update", session={}))
    assert realtime.decides(message(type="input_audio_buffer.append", audio="A" * 300_000))
    assert not realtime.decides(message(type="input_audio_buffer.append", audio="A" * 60_000))
    assert not realtime.decides(Message(PING, b"response.create", b""))


def test_a_response_that_was_asked_for_is_settled_with_its_usage(realtime: LiveSession, desk: FakeDesk):
    create(realtime)
    assert not realtime.is_quiet
    assert [realtime.upstream_said(event) for event in (begun("r1"), done("r1"))] == [None, None]
    (outcome,) = desk.outcomes
    assert outcome.usage is not None
    assert (outcome.usage.prompt_tokens, outcome.usage.cached_tokens) == (9, 4)
    assert outcome.usage.source == "reported"
    assert (outcome.upstream, outcome.model, outcome.error) == ("live", "live-voice", None)
    assert realtime.is_quiet


def test_a_response_that_was_not_asked_for_is_admitted_when_it_begins(realtime: LiveSession, desk: FakeDesk):
    assert realtime.upstream_said(begun("r1")) == "r1"
    assert realtime.upstream_said(done("r1")) is None  # before its admission
    realtime.admitted("r1", realtime.admit_unasked())
    assert [outcome.error for outcome in desk.outcomes] == [None]
    assert realtime.upstream_said(done("r2")) == "r2"  # its beginning was not seen
    realtime.admitted("r2", realtime.admit_unasked())
    assert len(desk.outcomes) == 2
    assert realtime.is_quiet


def test_a_response_cut_short_is_estimated_by_its_text_and_prompt(realtime: LiveSession, desk: FakeDesk):
    create(realtime)
    realtime.upstream_said(begun("r1"))
    realtime.upstream_said(done("r1"))
    create(realtime)
    realtime.upstream_said(begun("r2"))
    for _ in range(10):
        realtime.upstream_said(said("response.output_audio_transcript.delta", delta="word " * 8))
        realtime.upstream_said(said("response.output_audio.delta", delta="A" * 4000))
    realtime.end(CallerLeft("gone"))
    usage = desk.outcomes[1].usage
    assert usage is not None
    assert (usage.source, usage.prompt_tokens) == ("estimated", 9)
    assert 50 < usage.completion_tokens < 400
    assert isinstance(desk.outcomes[1].error, CallerLeft)


def test_an_error_of_the_upstream_ends_the_response_it_is_about(realtime: LiveSession, desk: FakeDesk):
    create(realtime, event_id="a")
    create(realtime, event_id="b")
    realtime.upstream_said(said("error", error={"event_id": "other"}))
    assert desk.outcomes == []
    realtime.upstream_said(said("error", error={"event_id": "b"}))
    assert [outcome.usage for outcome in desk.outcomes] == [None]
    realtime.upstream_said(begun("r1"))
    realtime.upstream_said(done("r1"))
    assert len(desk.outcomes) == 2


def test_a_refusal_of_a_guard_passes_nothing(realtime: LiveSession, desk: FakeDesk):
    desk.refusal = RateLimited("no")
    with pytest.raises(RateLimited):
        create(realtime)
    assert realtime.is_quiet


def test_a_session_awaits_a_bounded_number_of_responses(realtime: LiveSession):
    for _ in range(MOST_TURNS):
        create(realtime)
    with pytest.raises(GatewayError, match="32 responses"):
        create(realtime)


@pytest.mark.parametrize("name", ["session", "response"])
def test_the_model_of_a_realtime_session_stays(realtime: LiveSession, name: str):
    kind = "session.update" if name == "session" else "response.create"
    with pytest.raises(InvalidField, match="cannot change"):
        realtime.decide(message(type=kind, **{name: {"model": "dearer"}}))
    passed = realtime.decide(message(type=kind, **{name: {"model": "voice", "x": [1]}}))
    (sent,) = CallerFrames(1000).feed(passed.data)
    assert json.loads(sent.payload)[name] == {"model": "live-voice", "x": [1]}


def test_an_event_that_is_no_object_is_refused(realtime: LiveSession):
    (bad,) = CallerFrames(100).feed(frame(TEXT, b"[1]", masked=True))
    with pytest.raises(InvalidJson):
        realtime.decide(bad)


def test_a_session_of_responses_opens_with_its_first_response(desk: FakeDesk):
    session = LiveSession(desk, Operation.RESPONSE_SESSION, "")
    early = message(type="response.cancel")
    assert session.decides(early)
    with pytest.raises(InvalidField, match="first event"):
        session.decide(early)
    with pytest.raises(InvalidField, match="name a model"):
        session.decide(message(type="response.create"))
    decision = session.decide(message(type="response.create", model="m", input="hi"))
    assert decision.reply is not None
    assert decision.turn is not None
    session.decided(decision)
    (sent,) = CallerFrames(1000).feed(decision.data)
    assert json.loads(sent.payload) == {"type": "response.create", "model": "live-m", "input": "hi"}
    assert session.decide(message(type="response.create", model="n")).reply is None
    assert desk.asked == ["m", "n"]


def test_a_refused_first_response_leaves_the_session_closed(desk: FakeDesk):
    session = LiveSession(desk, Operation.RESPONSE_SESSION, "")
    desk.refusal = RateLimited("no")
    with pytest.raises(RateLimited):
        session.decide(message(type="response.create", model="m"))
    assert session.upstream == ""
