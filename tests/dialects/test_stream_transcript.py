"""Tests the transcript of a stream: good, cut and faulty ones, in any split."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import ROLE, chunk, sse
from kit.examples import examples
from kit.transcripts import run, stream

from flask_gateway.dialects.openai import envelope
from flask_gateway.dialects.sse import MAX_EVENT
from flask_gateway.dialects.stream_transcript import MAX_HELD_EVENTS
from flask_gateway.dialects.table import dialect_of
from flask_gateway.model.call import Operation, Usage
from flask_gateway.model.errors import (
    GatewayError,
    UpstreamCut,
    UpstreamError,
    UpstreamMalformed,
)


@pytest.mark.parametrize("event", [b"data: {}\n\n", b":\n\n", b"\n"])
def test_many_events_in_one_piece_take_time_in_proportion(event: bytes) -> None:
    def cost(size: int) -> float:
        rounds = []
        for _ in range(3):
            transcript = stream()
            transcript.feed(sse(chunk("a"), done=False))
            began = time.thread_time()
            transcript.feed(event * (size // len(event)))
            rounds.append(time.thread_time() - began)
        return min(rounds)

    assert cost(1 << 18) < 40 * cost(1 << 14)


# ------------------------------------------------------------------ streams that fail


def test_a_stream_that_ends_without_a_finish_reason_was_cut() -> None:
    transcript = stream()
    transcript.feed(sse(chunk("Hel"), done=False))
    with pytest.raises(UpstreamCut):
        transcript.end()


def test_an_empty_stream_was_cut() -> None:
    with pytest.raises(UpstreamCut):
        stream().end()


def test_done_without_any_answer_is_no_answer() -> None:
    with pytest.raises(UpstreamCut):
        stream().feed(sse(ROLE))


def test_an_event_cut_in_half_is_not_passed_on() -> None:
    transcript = stream()
    transcript.feed(sse(chunk("a"), done=False) + b'data: {"choices":[{"del')
    with pytest.raises(UpstreamCut):
        transcript.end()


@pytest.mark.parametrize("said", [{"message": "sk-secret at 10.0.0.1", "code": "boom"}, "down"])
def test_an_error_event_is_a_failure_and_its_words_stay_out(said: object) -> None:
    with pytest.raises(UpstreamError) as caught:
        stream().feed(sse({"error": said}))
    assert "secret" not in caught.value.message
    assert caught.value.retry_elsewhere


def test_an_error_event_behind_content_is_a_failure_too() -> None:
    transcript = stream()
    transcript.feed(sse(chunk("a"), done=False))
    with pytest.raises(UpstreamError):
        transcript.feed(sse({"error": {"message": "x"}}, done=False))


def test_an_oversized_event_breaks_the_stream() -> None:
    with pytest.raises(UpstreamMalformed):
        stream().feed(b"data: " + b"x" * (MAX_EVENT + 1))


def test_the_error_event_is_one_that_the_sdks_raise() -> None:
    error = UpstreamCut("It broke.")
    assert (
        stream().cut(error)
        == b"data: " + json.dumps(envelope(error), separators=(",", ":")).encode() + b"\n\n"
    )


def told(said: bytes) -> list[dict[str, Any]]:
    """The events, each of which is named by its type."""
    events = [event.split(b"\n") for event in said.split(b"\n\n")[:-1]]
    data = [json.loads(data.removeprefix(b"data: ")) for _, data in events]
    assert [name for name, _ in events] == [f"event: {one['type']}".encode() for one in data]
    return data


@pytest.mark.parametrize("numbered", [True, False])
def test_a_response_that_breaks_has_failed_and_then_there_is_the_error(numbered: bool) -> None:
    """Codex looks for the first, the SDKs for the second; some check that both are numbered."""
    transcript = stream(Operation.RESPONSE)
    response = {"id": "resp_1", "object": "response", "model": "m", "created_at": 7, "status": "in_progress"}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_text.delta", "delta": "Hi"},
    ]
    for number, event in enumerate(events):
        more = {"sequence_number": number + 40} if numbered else {}
        transcript.feed(sse(event | more, done=False))
    failed, error = told(transcript.cut(UpstreamCut("It broke.")))
    number = 42 if numbered else 0
    assert failed["type"] == "response.failed"
    assert (failed["sequence_number"], error["sequence_number"]) == (number, number + 1)
    assert failed["response"] == {
        "id": "resp_1", "object": "response", "model": "m", "created_at": 7, "status": "failed", "output": [],
        "usage": None, "error": {"code": "upstream_stream_cut", "message": "It broke."},
    }  # fmt: skip
    assert error["type"] == "error"
    assert error["message"] == error["error"]["message"] == "It broke."
    assert error["code"] == "upstream_stream_cut"


def test_a_response_that_never_began_fails_in_the_same_way() -> None:
    failed, error = told(dialect_of(Operation.RESPONSE).error_event(UpstreamCut("It broke."), None))
    assert (failed["sequence_number"], error["sequence_number"]) == (0, 1)
    assert "id" not in failed["response"]


# ------------------------------------------------------------------ streams that succeed


def test_events_pass_byte_by_byte_as_they_are() -> None:
    whole = sse(ROLE, chunk("Hel"), chunk("lo"), chunk(finish="stop"))
    assert run(stream(), [whole]) == whole


def test_a_missing_done_is_added_when_the_answer_is_complete() -> None:
    parts = [chunk("a"), chunk(finish="stop")]
    assert run(stream(), [sse(*parts, done=False)]) == sse(*parts)


def test_done_ends_a_stream_even_without_a_finish_reason() -> None:
    whole = sse(chunk("a"))
    assert run(stream(), [whole]) == whole


def test_done_is_the_end_whatever_follows() -> None:
    transcript = stream()
    out = transcript.feed(sse(chunk("a", finish="stop")) + sse(chunk("more")))
    assert transcript.finished
    assert out == sse(chunk("a", finish="stop"))


def test_an_unparsable_event_is_dropped_and_counted() -> None:
    for broken in (b"broken", b"\xff", b"[1]", b"NaN", b"[" * 100_000):
        transcript = stream()
        assert run(transcript, [sse(chunk("a"), broken, chunk(finish="stop"))]) == sse(
            chunk("a"), chunk(finish="stop")
        )
        assert transcript.dropped == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "broken", [b"{broken", b'{"choices": [{"index": 0, "delta": {"content": "wo', b"{", b"{" * 1000]
)
def test_an_event_that_lost_its_end_ends_the_stream_with_an_error(broken: bytes) -> None:
    """Its word is lost. An answer without that word must not look complete."""
    transcript = stream()
    assert transcript.feed(sse(chunk("a"), done=False)) == sse(chunk("a"), done=False)
    with pytest.raises(UpstreamMalformed, match="its part of the answer is lost") as caught:
        transcript.feed(sse(broken, chunk("b", finish="stop")))
    assert b"[DONE]" not in transcript.cut(caught.value)


def test_an_event_that_lost_its_end_and_comes_again_whole_is_not_missed() -> None:
    whole = [sse(chunk(text), done=False) for text in ("a", "b")] + [sse(chunk(finish="stop"))]
    broken = whole[1].rstrip()[:-20] + b"\n\n"
    transcript = stream()
    assert run(transcript, [whole[0], broken, b": ping\n\n", *whole[1:]]) == b": ping\n\n".join(
        [whole[0], whole[1] + whole[2]]
    )
    assert transcript.dropped == 1  # type: ignore[attr-defined]


def test_an_event_that_lost_its_end_before_any_content_fails_over() -> None:
    transcript = stream()
    with pytest.raises(UpstreamMalformed):
        transcript.feed(sse(ROLE, b'{"choices": [{"delta": {"content": "wo', done=False))
    assert not transcript.ready


def test_an_event_that_lost_its_end_behind_a_complete_answer_takes_nothing_from_it() -> None:
    whole = sse(chunk("a"), chunk(finish="stop"), done=False)
    transcript = stream()
    assert (
        run(transcript, [whole, b'data: {"usage": {"prompt_tok\n\n', b"data: [DONE]\n\n"])
        == whole + b"data: [DONE]\n\n"
    )
    assert transcript.dropped == 1  # type: ignore[attr-defined]


def test_nothing_is_ready_before_content() -> None:
    transcript = stream()
    transcript.feed(sse(ROLE, chunk(""), done=False))
    assert not transcript.ready
    transcript.feed(sse(chunk("a"), done=False))
    assert transcript.ready


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [{"index": 0}]},
        {"reasoning_content": "hm"},
        {"refusal": "no"},
        {"function_call": {"name": "f"}},
    ],
)
def test_whatever_the_model_says_is_content(delta: dict[str, object]) -> None:
    transcript = stream()
    transcript.feed(sse({"choices": [{"index": 0, "delta": delta}]}, done=False))
    assert transcript.ready


def test_held_back_events_are_bounded_and_commit_nothing() -> None:
    transcript, held = stream(), b""
    for _ in range(10 * MAX_HELD_EVENTS):
        held += transcript.feed(sse(ROLE, done=False))
    assert not transcript.ready
    assert held == sse(ROLE, done=False) * MAX_HELD_EVENTS


def test_an_event_of_an_unknown_shape_passes() -> None:
    odd = {"choices": "later", "object": "x"}
    assert run(stream(), [sse(odd, chunk("a", finish="stop"))]) == sse(odd, chunk("a", finish="stop"))


def test_comments_pass_once_the_answer_has_begun() -> None:
    transcript = stream()
    assert transcript.feed(b": early\n\n") == b""
    transcript.feed(sse(chunk("a"), done=False))
    assert transcript.feed(b": late\n\n") == b": late\n\n"


def test_every_choice_has_to_finish() -> None:
    def one(index: int, finish: str | None) -> dict[str, object]:
        return {"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": finish}]}

    transcript = stream()
    transcript.feed(sse(one(0, None), one(1, None), one(0, "stop"), done=False))
    with pytest.raises(UpstreamCut):
        transcript.end()


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 3, "completion_tokens": 4}, {"input_tokens": 3, "output_tokens": 4}]
)
def test_usage_is_read_from_any_event(usage: dict[str, int]) -> None:
    transcript = stream()
    run(transcript, [sse(chunk("a", finish="stop"), {"choices": [], "usage": usage})])
    assert transcript.usage == Usage(3, 4)


def test_a_responses_stream_ends_with_its_own_last_event() -> None:
    events = [
        {"type": "response.created", "response": {}},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 2}}},
    ]
    transcript = stream(Operation.RESPONSE)
    assert run(transcript, [sse(*events, done=False)]) == sse(*events, done=False)
    assert transcript.usage == Usage(1, 2)


@settings(max_examples=examples(200, 500), deadline=None)
@given(st.data())
def test_any_split_gives_the_same_bytes(data: st.DataObject) -> None:
    parts = st.sampled_from(
        [ROLE, chunk("a"), chunk("é"), b"{broken", {"error": {"message": "x"}}, chunk(finish="stop")]
    )
    whole = sse(*data.draw(st.lists(parts, max_size=8)), done=data.draw(st.booleans()))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    edges = [0, *cuts, len(whole)]

    def seen(chunks: list[bytes]) -> tuple[bytes, str | None]:
        transcript, out = stream(), b""
        try:
            for piece in chunks:
                out += transcript.feed(piece)
            return out + (b"" if transcript.finished else transcript.end()), None
        except GatewayError as error:
            return (out if transcript.ready else b""), error.code

    split = seen([whole[a:b] for a, b in pairwise(edges)])
    together = seen([whole])
    assert split[1] == together[1]
    if together[1] is None:
        assert split == together
