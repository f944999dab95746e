"""Usage of answers: requested, hidden, estimated; never unknown, never read from an error."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.calls import ROLE, chunk, make_call, sse
from kit.replies import ScriptedSource

from flask_gateway.dialects.reported_usage import ReportedUsage
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.dialects.usage import Tally, asking_for_usage, estimate, without_null_usage
from flask_gateway.model.call import Operation, Outcome, Usage
from flask_gateway.model.errors import UpstreamCut
from flask_gateway.model.reply import Reply

USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
ONLY = {"choices": [], "usage": USAGE}


def play(*script: bytes | Exception, hides: bool = True, leave: int | None = None) -> tuple[bytes, Outcome]:
    """Return what the caller of a stream sees, and how it ended. ``leave``: hang up after so many parts."""
    call = make_call(stream=True)
    reply = Reply(ScriptedSource(*script), transcript_for(call, "llama", hides_usage=hides), "llama")
    told: list[Outcome] = []
    reply.on_close(told.append)
    reply.prime()
    seen = b"".join(part for _, part in zip(range(leave), reply, strict=False)) if leave else b"".join(reply)
    reply.close()
    (outcome,) = told
    return seen, outcome


# ------------------------------------------------------------------ estimated


def test_a_stream_that_breaks_costs_what_was_passed_on() -> None:
    words = sse(ROLE, chunk("x" * 40), chunk("日本語"), done=False)
    half = sse(chunk("y" * 400), done=False)[:-50]
    _, outcome = play(words, half, UpstreamCut("cut"))
    assert outcome.usage == Usage(2, 13, source="estimated")


def test_a_caller_who_leaves_has_cost_what_it_saw() -> None:
    parts = [sse(chunk("word" * 5), done=False) for _ in range(9)]
    _, outcome = play(*parts, leave=2)
    assert outcome.usage == Usage(2, 10, source="estimated")


def test_the_text_of_an_error_is_no_answer() -> None:
    fault = sse({"error": {"message": "x" * 4000}}, done=False)
    _, outcome = play(sse(chunk("four"), done=False), fault)
    assert outcome.usage == Usage(2, 1, source="estimated")


def test_unseen_text_is_not_estimated() -> None:
    transcript = transcript_for(make_call(stream=True), "llama")
    transcript.feed(sse(ROLE, done=False))
    assert transcript.usage is None


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0}, {"prompt_tokens": -1}, "many"])
def test_a_stream_that_reports_nothing_of_use_is_estimated(usage: object) -> None:
    _, outcome = play(sse(chunk("a" * 8, usage=usage), chunk(finish="stop")))
    assert outcome.usage == Usage(2, 2, source="estimated")


def test_all_that_a_model_writes_is_counted() -> None:
    call = {"tool_calls": [{"index": 0, "function": {"name": "abcd", "arguments": "{" + "x" * 6 + "}"}}]}
    deltas = [{"role": "assistant"}, {"reasoning_content": "hmmm"}, call, {"content": [{"text": "four"}]}]
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    _, outcome = play(sse(*events, chunk(finish="stop")))
    assert outcome.usage == Usage(2, 1 + 3 + 1, source="estimated")


def test_a_response_that_breaks_is_estimated_too() -> None:
    call = msgspec.structs.replace(make_call(stream=True), operation=Operation.RESPONSE)
    transcript = transcript_for(call, "llama")
    transcript.feed(sse({"type": "response.output_text.delta", "delta": "x" * 12}, done=False))
    assert transcript.usage == Usage(2, 3, source="estimated")


def fields(**values: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in values.items()}


@pytest.mark.parametrize(
    ("request_fields", "tokens"),
    [
        ({"prompt": "x" * 9}, 3),
        ({"prompt": ["x" * 4, "y" * 4]}, 2),
        ({"prompt": [11, 12, 13]}, 3),
        ({"prompt": [[11, 12], [13]]}, 3),
        ({"input": "漢字とカナ"}, 5),
        ({"messages": [{"role": "user", "content": "x" * 4}, {"role": "user", "content": "한국"}]}, 3),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x" * 999}}]}]}, 0),
        ({"messages": [{"content": [{"type": "text", "text": "x" * 8}]}]}, 2),
        ({"messages": "odd", "tools": [{"a": 1}]}, 4),
        ({"messages": 7}, 0),
        ({}, 0),
    ],
)
def test_the_prompt_is_estimated_from_the_request(request_fields: dict[str, Any], tokens: int) -> None:
    assert estimate(fields(**request_fields), Tally()).prompt_tokens == tokens


@given(st.text(max_size=80), st.data())
def test_an_estimate_does_not_depend_on_how_the_text_was_cut(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    parts, together = Tally(), Tally()
    for part in (text[:at], text[at:]):
        parts.add(part)
    together.add(text)
    assert parts.tokens == together.tokens
    assert 0 <= together.tokens <= len(text)


# ------------------------------------------------------------------ hidden


def test_usage_that_only_the_gateway_asked_for_is_hidden() -> None:
    said = sse(ROLE, chunk("a", usage=None), chunk(finish="stop", usage=None), ONLY)
    seen, outcome = play(said)
    assert seen == sse(ROLE, chunk("a"), chunk(finish="stop"))
    assert outcome.usage == Usage(3, 4)


def test_a_caller_who_asked_sees_it_all() -> None:
    said = sse(ROLE, chunk("a", usage=None), chunk(finish="stop", usage=None), ONLY)
    assert play(said, hides=False) == (said, Outcome(play(said)[1].verdict, Usage(3, 4), upstream="llama"))


def test_usage_next_to_choices_passes() -> None:
    said = sse(chunk("a"), chunk(finish="stop", usage=USAGE))
    seen, outcome = play(said)
    assert (seen, outcome.usage) == (said, Usage(3, 4))


def test_the_last_usage_counts() -> None:
    more = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}
    assert play(sse(chunk("a", finish="stop", usage=USAGE), more))[1].usage == Usage(3, 9)
    empty = {"choices": [], "usage": {}}
    assert play(sse(chunk("a", finish="stop", usage=USAGE), empty))[1].usage == Usage(3, 4)


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b'data: {"a":1,"usage":null}', b'data: {"a":1}'),
        (b'data: {"a": 1, "usage":null, "b": 1.0}', b'data: {"a":1,"b":1.0}'),
        (b'data: {"usage":null,"a":"\\",\\"usage\\":null"}', b'data: {"a":"\\",\\"usage\\":null"}'),
        (b'data: {"usage": null,"a":{"b":1,"usage":null}}', b'data: {"a":{"b":1,"usage":null}}'),
        (b'data: {"a":"usage","usage":null}', b'data: {"a":"usage"}'),
        (b'id: 7\ndata: {"a":1,\ndata: "usage":null}', b'id: 7\ndata: {"a":1}'),
    ],
)
def test_nothing_but_the_empty_usage_is_taken_out(event: bytes, left: bytes) -> None:
    data = b"\n".join(line[6:] for line in event.split(b"\n") if line.startswith(b"data: "))
    assert without_null_usage(event, data) == left


# ------------------------------------------------------------------ asked for


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False, "x": 1}}, {"include_usage": True, "x": 1}),
    ],
)
def test_an_upstream_is_asked_for_usage(options: dict[str, Any], sent: dict[str, Any]) -> None:
    call = make_call(stream=True, **options)
    asking = asking_for_usage(call)
    assert asking is not call
    body = json.loads(asking.payload())
    assert body.pop("stream_options") == sent
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("options", [{"include_usage": True}, {"include_usage": "yes"}, [], "odd"])
def test_a_caller_who_asks_or_errs_is_left_alone(options: object) -> None:
    call = make_call(stream=True, stream_options=options)
    assert asking_for_usage(call) is call


def test_only_streams_that_can_report_are_asked() -> None:
    call = make_call()
    assert asking_for_usage(call) is call
    call = msgspec.structs.replace(make_call(stream=True), operation=Operation.RESPONSE)
    assert asking_for_usage(call) is call


def test_details_are_read() -> None:
    said = {"input_tokens": 5, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 2}}
    reported = ReportedUsage()
    reported.add(said)
    assert reported.usage(lambda: 0, lambda: 0) == Usage(5, 1, 2)
