"""Tests resumed streams: the caller receives one seamless answer, or the original error."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import ROLE, chunk, make_call, sse
from kit.replies import ScriptedSource

from flask_gateway.dialects.sse import MAX_EVENT
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.model.call import Call, Continues, Operation, Outcome, Usage
from flask_gateway.model.errors import (
    CallerLeft,
    DeadlineExceeded,
    GatewayError,
    UpstreamCut,
    UpstreamError,
    UpstreamRefusal,
    UpstreamTimeout,
    UpstreamUnreachable,
    Verdict,
)
from flask_gateway.model.reply import Reply
from flask_gateway.streaming.resume import Continuer as Candidate
from flask_gateway.streaming.resume import Resume, resumable, resume_at
from flask_gateway.streaming.splice import MAX_TEXT, PartialAnswer, may_continue, resumed

CUT = UpstreamCut("the first one broke")


def reply_of(name: str, call: Call, *script: bytes | Exception) -> Reply:
    return Reply(ScriptedSource(*script), transcript_for(call, name), name)


def other(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of the resuming upstream, which uses other ids and names."""
    return {**chunk(content, finish), "id": "cmpl-2", "created": 99, "model": "spare", **more}


OTHER_ROLE = {**ROLE, "id": "cmpl-2", "created": 99, "model": "spare"}


class Continuer:
    """Continues the known text as a capable upstream would, in pieces of ``size`` characters."""

    name = "spare"

    def __init__(self, full: str, size: int = 3, usage: bool = False, script: Any = None) -> None:
        self.full, self.size, self.usage, self.script = full, size, usage, script
        self.asked: list[Call] = []
        self.replies: list[Reply] = []

    def send(self, call: Call) -> Reply:
        self.asked.append(call)
        if isinstance(self.script, Exception):
            raise self.script
        last = msgspec.json.decode(call.fields["messages"])[-1]
        assert last["role"] == "assistant"
        assert self.full.startswith(last["content"])
        rest = self.full[len(last["content"]) :]
        pieces = [rest[at : at + self.size] for at in range(0, len(rest), self.size)]
        events = [OTHER_ROLE, *map(other, pieces), other(finish="stop")]
        if self.usage:
            events.append({**other(), "choices": [], "usage": usage_of(50, len(pieces))})
        self.replies.append(reply_of(self.name, call, *(self.script or [sse(*events)])))
        return self.replies[-1]


def usage_of(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def resume_with(*services: Any, call: Call, how: Continues = Continues.VLLM) -> Resume:
    return lambda beginning: resume_at([Candidate(s, "spare-model", how) for s in services], call, beginning)


def play(*script: bytes | Exception, to: Any = None, call: Call | None = None) -> tuple[bytes, Outcome]:
    """Return the bytes that the caller receives of a stream resumed by ``to``, and its outcome."""
    call = call or make_call(stream=True)
    first = reply_of("llama", call, *script).prime()
    reply = resumable(first, call, resume_with(*([to] if to else []), call=call))
    told: list[Outcome] = []
    reply.on_close(told.append)
    seen = b"".join(reply)
    reply.close()
    (outcome,) = told
    return seen, outcome


def events_of(seen: bytes) -> list[Any]:
    return [json.loads(e[6:]) for e in seen.split(b"\n\n") if e and e != b"data: [DONE]"]


def text_of(seen: bytes) -> str:
    choices = [c for event in events_of(seen) for c in event.get("choices", [])]
    return "".join(c["delta"].get("content", "") for c in choices)


# ------------------------------------------------------------------ it cannot go on


@pytest.mark.parametrize(
    "refusal",
    [
        UpstreamRefusal("no prefixes here", status=400, error_object={"message": "no prefixes here"}),
        UpstreamUnreachable("refused"),
        RuntimeError("bug"),
        None,
    ],
)
def test_the_caller_receives_the_cut_and_never_the_refusal(refusal: Exception | None) -> None:
    begin = sse(ROLE, chunk("Hel"), done=False)
    seen, outcome = play(begin, CUT, to=Continuer("Hello", script=refusal) if refusal else None)
    told = events_of(seen)[-1]["error"]
    assert (told["code"], told["message"]) == ("upstream_stream_cut", CUT.message)
    assert b"[DONE]" not in seen
    assert b"prefixes" not in seen
    assert (outcome.verdict, outcome.error) == (Verdict.FAILURE, CUT)
    assert outcome.usage == Usage(2, 1, source="estimated")


def test_upstreams_asked_to_resume_are_attempts() -> None:
    call = make_call(stream=True)
    services = [Continuer("Hello", script=UpstreamUnreachable("x")), Continuer("Hello")]
    first = reply_of("llama", call, sse(chunk("Hel"), done=False), CUT).prime()
    list(resumable(first, call, resume_with(*services, call=call)))
    assert [(one.upstream, one.result) for one in call.attempts] == [
        ("spare", "upstream_unreachable"),
        ("spare", "200"),
    ]


def test_a_resumed_answer_that_breaks_ends_with_the_first_error() -> None:
    script = [sse(OTHER_ROLE, other("lo wor"), done=False), UpstreamTimeout("the second one")]
    seen, outcome = play(sse(chunk("Hel"), done=False), CUT, to=Continuer("Hello world", script=script))
    assert text_of(seen) == "Hello wor"
    assert events_of(seen)[-1]["error"]["message"] == CUT.message
    assert outcome.error is CUT
    assert outcome.usage == Usage(2, 3, source="estimated")


@pytest.mark.parametrize(
    "error",
    [UpstreamError("it said so"), DeadlineExceeded("no time"), RuntimeError("bug"), CallerLeft("gone")],
)
def test_only_cuts_and_timeouts_are_resumed(error: Exception) -> None:
    spare = Continuer("Hello")
    seen, _ = play(sse(chunk("Hel"), done=False), error, to=spare)
    assert spare.asked == []
    assert "error" in events_of(seen)[-1]


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [{"index": 0}]},
        {"reasoning_content": "hm"},
        {"content": [{"type": "text", "text": "part"}]},
        {"content": "x" * (MAX_TEXT + 1)},
        {"refusal": "no"},
    ],
)
def test_only_short_text_is_resumed(delta: dict[str, Any]) -> None:
    spare = Continuer("Hello")
    odd = [sse({"choices": [{"index": 0, "delta": delta}]}, done=False)]
    if "content" in delta and isinstance(delta["content"], str):
        half = MAX_TEXT // 2 + 1
        odd = [sse(chunk("x" * half), done=False), sse(chunk("x" * half), done=False)]
    play(sse(chunk("Hel"), done=False), *odd, CUT, to=spare)
    assert spare.asked == []


def test_a_second_choice_is_not_resumed() -> None:
    spare = Continuer("Hello")
    second = {"choices": [{"index": 1, "delta": {"content": "x"}}]}
    play(sse(chunk("Hel"), second, done=False), CUT, to=spare)
    assert spare.asked == []


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"logprobs": True},
        {"echo": True},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": "odd"},
    ],
)
def test_calls_with_these_options_are_not_resumed(more: dict[str, Any]) -> None:
    assert not may_continue(make_call(stream=True, **more))


def test_other_operations_are_not_resumed() -> None:
    call = make_call(stream=True, n=1, logprobs=False, max_tokens=None)
    assert may_continue(call)
    changes: list[dict[str, Any]] = [
        {"stream": False},
        {"whole": True},
        {"operation": Operation.COMPLETION},
    ]
    for change in changes:
        assert not may_continue(msgspec.structs.replace(call, **change))


def test_a_caller_who_leaves_closes_the_current_part() -> None:
    call, spare = make_call(stream=True), Continuer("Hello world", script=[sse(other("lo"), done=False)] * 3)
    first = reply_of("llama", call, sse(chunk("Hel"), done=False), CUT).prime()
    reply = resumable(first, call, resume_with(spare, call=call))
    told: list[Outcome] = []
    reply.on_close(told.append)
    assert [text_of(next(reply)) for _ in range(2)] == ["Hel", "lo"]
    reply.close()
    reply.close()
    assert [outcome.verdict for outcome in told] == [Verdict.IGNORED]
    assert spare.replies[0]._source.closed == 1  # type: ignore[attr-defined]


def test_a_cancelled_call_is_not_resumed() -> None:
    call, spare = make_call(stream=True), Continuer("Hello")
    call.cancellation.cancel(CallerLeft("gone"))
    play(sse(chunk("Hel"), done=False), CUT, to=spare, call=call)
    assert spare.asked == []


# ------------------------------------------------------------------ it goes on


def test_the_caller_receives_one_answer() -> None:
    call = make_call(stream=True, stream_options={"include_usage": True}, max_tokens=20)
    spare = Continuer("Hello world", usage=True)
    seen, outcome = play(sse(ROLE, chunk("Hello"), done=False), CUT, to=spare, call=call)
    events = events_of(seen)
    assert {(e["id"], e.get("created", 1), e.get("model", "llama")) for e in events} == {
        ("chatcmpl-1", 1, "llama")
    }
    assert [e["choices"][0]["delta"].get("role") for e in events[:-1]] == ["assistant", *[None] * 4]
    assert [e["choices"][0]["finish_reason"] for e in events[:-1]] == [*[None] * 4, "stop"]
    assert events[-1]["usage"] == usage_of(2, 4)
    assert seen.count(b"[DONE]") == 1
    assert (outcome.verdict, outcome.usage) == (Verdict.SUCCESS, Usage(2, 4, source="estimated"))


def test_text_that_arrived_with_the_error_is_kept() -> None:
    long_event = b"data: " + b"x" * (MAX_EVENT + 9)
    both = sse(chunk("lo "), done=False)
    spare = Continuer("Hello world")
    seen, _ = play(sse(chunk("Hel"), done=False), both + both[:30], to=spare)
    assert text_of(seen) == "Hello world"
    seen, _ = play(sse(chunk("Hel"), done=False), both + long_event, to=spare)
    assert "error" in events_of(seen)[-1]


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.data(),
)
def test_a_cut_anywhere_in_any_answer_keeps_its_text_complete(
    text: str, sizes: list[int], data: st.DataObject
) -> None:
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    uncut = sse(ROLE, *map(chunk, pieces), chunk(finish="stop"))
    first_word = len(sse(ROLE, chunk(pieces[0]), done=False))
    cut = data.draw(st.integers(first_word, len(uncut)))
    split = data.draw(st.integers(first_word, cut))
    fault = data.draw(st.sampled_from([(CUT,), (UpstreamTimeout("silent"),), ()]))
    size = data.draw(st.integers(1, 20))
    seen, outcome = play(uncut[:split], uncut[split:cut], *fault, to=Continuer(text, size=size))
    assert text_of(seen) == text
    finishes = [e["choices"][0]["finish_reason"] for e in events_of(seen)]
    assert finishes == [None] * (len(finishes) - 1) + ["stop"]
    assert seen.endswith(b"data: [DONE]\n\n")
    assert outcome.verdict is Verdict.SUCCESS


# ------------------------------------------------------------------ what is asked


@pytest.mark.parametrize(
    ("how", "message", "top"),
    [
        (Continues.VLLM, {}, {"continue_final_message": True, "add_generation_prompt": False}),
        (Continues.PREFIX, {"prefix": True}, {}),
        (Continues.PLAIN, {}, {}),
    ],
)
def test_the_second_call_requests_the_rest(
    how: Continues, message: dict[str, Any], top: dict[str, Any]
) -> None:
    call = make_call(stream=True, max_tokens=10, max_completion_tokens=3, min_tokens=5, seed=7)
    body = json.loads(resumed(call, PartialAnswer("Hé", 4), how).payload())
    assert body == {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hé", **message},
        ],
        "max_tokens": 6,
        "max_completion_tokens": 1,
        "min_tokens": 1,
        "seed": 7,
        **top,
    }


def test_a_second_candidate_is_asked_and_a_third_is_not() -> None:
    call = make_call(stream=True)
    refusing = [Continuer("x", script=UpstreamUnreachable(str(n))) for n in range(3)]
    with pytest.raises(GatewayError):
        resume_with(*refusing, call=call)(PartialAnswer("x", 1))
    assert [len(service.asked) for service in refusing] == [1, 1, 0]
    assert resume_with(refusing[0], Continuer("xy"), call=call)(PartialAnswer("x", 1)).upstream == "spare"


def test_no_upstream_is_asked_for_a_dropped_caller() -> None:
    """The relay drops a slow caller while a thread looks for an upstream that resumes."""
    call = make_call(stream=True)

    class Silent(Continuer):
        def send(self, call: Call) -> Reply:
            self.asked.append(call)
            reply.abandon()
            raise call.cancellation.error or AssertionError("it was not called off")

    silent, spare = Silent("abcdef"), Continuer("abcdef")
    first = reply_of("llama", call, sse(ROLE, chunk("abc"), done=False), CUT).prime()
    reply = resumable(first, call, resume_with(silent, spare, call=call))
    b"".join(reply)
    assert reply.outcome is not None
    assert isinstance(reply.outcome.error, CallerLeft)
    assert (len(silent.asked), spare.asked) == (1, [])
