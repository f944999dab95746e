"""Tests the path of every translation with a trivial one: completions in, chat at the upstream."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from kit.calls import chunk, make_call, sse
from kit.dispatch import SecondsClock
from kit.translating import LOUD, Raw, SpokenUpstream

from flask_gateway.model.call import BodyOverrides, Call, Operation, Outcome
from flask_gateway.model.errors import (
    GatewayError,
    UnsupportedField,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamRefusal,
    Verdict,
)
from flask_gateway.model.quirks import TranslationTarget
from flask_gateway.model.reply import Reply
from flask_gateway.model.source import Postponed
from flask_gateway.routing.dispatcher import Candidate, Dispatcher
from flask_gateway.upstreams.translating import TranslatingUpstream

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}], "usage": USAGE}
HELLO = sse(chunk(""), chunk("hel"), chunk("lo"), chunk(finish="stop", usage=USAGE))
SAID = b'data: {"text":"HEL"}\n\ndata: {"text":"LO"}\n\ndata: {"tokens":2}\n\ndata: [DONE]\n\n'


def completion(*, stream: bool = True, whole: bool = False, **fields: object) -> Call:
    body = {"prompt": "Hello", "stream": stream, **fields}
    return msgspec.structs.replace(
        make_call(stream=stream),
        operation=Operation.COMPLETION,
        fields={name: Raw(msgspec.json.encode(value)) for name, value in body.items()},
        whole=whole,
    )


def send(upstream: SpokenUpstream, call: Call, overrides: BodyOverrides | None = None) -> Reply:
    return TranslatingUpstream(upstream, LOUD, TranslationTarget("up"), overrides).send(call)


def dispatched(call: Call, *upstreams: SpokenUpstream) -> Reply:
    services = [TranslatingUpstream(one, LOUD, TranslationTarget(one.name), None) for one in upstreams]
    clock = SecondsClock()
    candidates: Callable[[Call], list[Candidate]] = lambda call: [Candidate(one, "m") for one in services]  # noqa: E731
    return Dispatcher(candidates, clock=clock, pause=lambda call, seconds: clock.sleep(seconds)).send(call)


def outcome_of(reply: Reply) -> Outcome:
    assert reply.outcome is not None
    return reply.outcome


def test_a_request_is_sent_in_the_upstreams_words() -> None:
    upstream = SpokenUpstream(msgspec.json.encode(ANSWER))
    reply = send(upstream, completion(stream=False, temperature=0.5, echo=True))
    assert upstream.calls[0].operation is Operation.CHAT
    assert upstream.sent["messages"] == [{"role": "user", "content": "Hello"}]
    assert (upstream.sent["temperature"], upstream.sent["max_tokens"]) == (0.5, 16)
    assert reply.headers == {
        "x-gateway-translated": "completions>chat/completions",
        "x-gateway-left-out": "echo",
    }
    assert b"".join(reply) == b'{"text":"HELLO","tokens":2}'


def test_fields_of_the_settings_are_in_the_upstreams_words() -> None:
    upstream = SpokenUpstream(msgspec.json.encode(ANSWER))
    overrides = BodyOverrides({"max_tokens": Raw(b"7")}, {"seed": Raw(b"1")})
    send(upstream, completion(stream=False), overrides)
    assert (upstream.sent["max_tokens"], upstream.sent["seed"]) == (7, 1)


@pytest.mark.parametrize("primes", [False, True])
@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("whole", [False, True])
def test_a_stream_is_rewritten_however_it_arrives(step: int, primes: bool, whole: bool) -> None:
    upstream = SpokenUpstream(*(HELLO[at : at + step] for at in range(0, len(HELLO), step)))
    upstream.primes = primes
    reply = send(upstream, completion(whole=whole)).prime()
    assert b"".join(reply) == SAID
    assert outcome_of(reply).verdict is Verdict.SUCCESS
    usage = outcome_of(reply).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.source) == (3, 2, "reported")
    assert upstream.sources[0].released == 1


def test_a_primed_document_is_rewritten() -> None:
    upstream = SpokenUpstream(msgspec.json.encode(ANSWER))
    upstream.primes = True
    assert b"".join(send(upstream, completion(stream=False)).prime()) == b'{"text":"HELLO","tokens":2}'


def test_usage_that_callers_have_not_asked_for_reaches_the_rewriter() -> None:
    upstream = SpokenUpstream(HELLO, hides_usage=True)
    assert b'{"tokens":2}' in b"".join(send(upstream, completion()))


def test_a_relay_does_not_count_the_text_of_a_request() -> None:
    reply = send(SpokenUpstream(sse(chunk("hello!!!"), chunk(finish="stop"))), completion())
    work: list[Callable[[], None]] = []
    reply.settle_with(work.append)
    with pytest.raises(Postponed):
        reply._part(reply._source.read)
    assert reply.catch_up() == b'data: {"text":"HELLO!!!"}\n\ndata: {"tokens":2}\n\ndata: [DONE]\n\n'
    assert b"".join(reply) == b""
    assert len(work) == 1


def test_a_cut_is_an_error_event_behind_what_had_come() -> None:
    reply = send(SpokenUpstream(sse(chunk("hel"), done=False), sse(chunk("lo"), done=False)), completion())
    said = b"".join(reply.prime())
    assert said.startswith(b'data: {"text":"HEL"}\n\ndata: {"text":"LO"}\n\ndata: {"error":')
    assert b"upstream_stream_cut" in said
    assert b"[DONE]" not in said
    assert isinstance(outcome_of(reply).error, UpstreamCut)


def test_events_in_one_read_with_a_fault_reach_the_caller() -> None:
    begun = b'data: {"text":"A"}\n\ndata: {"text":"B"}\n\ndata: {"error":'
    fault = sse(chunk("b"), done=False) + b'data: {"error":{"message":"no"}}\n\n'
    for last in (fault, sse(chunk("b"), chunk("unspeakable"), done=False)):
        reply = send(SpokenUpstream(sse(chunk("a"), done=False), last), completion())
        assert b"".join(reply.prime()).startswith(begun)
        assert outcome_of(reply).verdict is Verdict.FAILURE


@pytest.mark.parametrize(
    "broken",
    [
        (b'data: {"error":{"message":"no"}}\n\n',),
        (sse(chunk(""), done=False),),
        (sse(chunk("unspeakable"), chunk(finish="stop")),),
        (UpstreamCut("cut"),),
    ],
)
def test_before_content_another_upstream_answers(broken: tuple[bytes | Exception, ...]) -> None:
    first, second = SpokenUpstream(*broken, name="first"), SpokenUpstream(HELLO, name="second")
    reply = dispatched(completion(), first, second)
    assert b"".join(reply) == SAID
    assert reply.upstream == "second"
    assert reply.headers["x-gateway-retries"] == "1"


def test_a_whole_stream_fails_over_after_content() -> None:
    first = SpokenUpstream(sse(chunk("hel"), done=False), name="first")
    reply = dispatched(completion(whole=True), first, SpokenUpstream(HELLO, name="second"))
    assert b"".join(reply) == SAID


def test_an_error_is_worded_for_the_caller() -> None:
    refused = UpstreamRefusal("no", status=400, error_object={})
    for upstream in (SpokenUpstream(refused), SpokenUpstream(b'data: {"error":{"message":"no"}}\n\n')):
        with pytest.raises(GatewayError) as caught:
            send(upstream, completion()).prime()
        assert caught.value.message.isupper()
    with pytest.raises(UpstreamMalformed) as malformed:
        send(SpokenUpstream(b'{"object": 7}'), completion(stream=False)).prime()
    assert malformed.value.message.isupper()


def test_an_upstream_without_a_place_for_a_field_is_no_attempt() -> None:
    call = completion(logprobs=1)
    first, second = SpokenUpstream(HELLO, name="first"), SpokenUpstream(HELLO, name="second")
    with pytest.raises(UnsupportedField) as caught:
        dispatched(call, first, second)
    assert (caught.value.status, caught.value.code, caught.value.param) == (
        400,
        "unsupported_field",
        "logprobs",
    )
    assert call.attempts == first.calls == second.calls == []
    assert caught.value.verdict is Verdict.IGNORED
