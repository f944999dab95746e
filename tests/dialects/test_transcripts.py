"""Tests what callers see of a stream, wherever it breaks and however it is split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.calls import ROLE, chunk, sse
from kit.replies import ScriptedSource
from kit.transcripts import stream

from flask_gateway.model.errors import (
    GatewayError,
    UpstreamCut,
    UpstreamError,
    UpstreamTimeout,
)
from flask_gateway.model.reply import Reply
from flask_gateway.model.transcript import Transcript


def reply_to(transcript: Transcript, *script: bytes | Exception) -> bytes | GatewayError:
    """All that a caller sees of it; the error, if that comes before there is anything to see."""
    reply = Reply(ScriptedSource(*script), transcript, "llama")
    try:
        return b"".join(reply.prime())
    except GatewayError as error:
        return error


LONG = sse(ROLE, *(chunk(f"word {n} ") for n in range(11)), chunk(finish="stop"))


@pytest.mark.parametrize("cut", [(UpstreamCut("reset"),), (UpstreamTimeout("silent"),), ()])
def test_cut_at_any_byte_no_truncated_answer_looks_complete(cut: tuple[Exception, ...]) -> None:
    assert len(LONG) > 1900
    # At a proper end of the bytes a last blank line may be missing.
    finished = LONG.rindex(b"data: [DONE]") - (0 if cut else 2)
    for at in range(len(LONG)):
        for script in ((LONG[:at],), (LONG[: at // 2], LONG[at // 2 : at])):
            seen = reply_to(stream(), *script, *cut)
            if at >= finished:
                assert seen == LONG  # it had come to its end, which takes no [DONE]
            elif not isinstance(seen, GatewayError):
                told, _, last = seen.removesuffix(b"\n\n").rpartition(b"\n\n")
                assert b"[DONE]" not in seen
                assert b'"error"' in last
                assert LONG.startswith(told)


def test_events_before_a_fault_reach_the_caller() -> None:
    begin = sse(chunk("a"), done=False)
    fault = sse(chunk("b"), {"error": {"message": "x"}}, done=False)
    seen = reply_to(stream(), begin, fault)
    assert isinstance(seen, bytes)
    assert seen.startswith(sse(chunk("a"), chunk("b"), done=False) + b'data: {"error"')


def test_content_that_comes_with_a_fault_does_not_commit() -> None:
    transcript = stream()
    fault = sse(chunk("b"), {"error": {"message": "x"}}, done=False)
    assert isinstance(reply_to(transcript, fault), UpstreamError)
    assert transcript.usage is None


def test_a_stream_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_gateway.dialects.stream_transcript.MAX_STREAM", 1000)
    part = sse(chunk("x" * 100), done=False)
    seen = reply_to(stream(), *[part] * 20)
    assert isinstance(seen, bytes)
    assert len(seen) < 1500
    assert seen.startswith(part)
    assert b'"upstream_malformed"' in seen
    assert b"[DONE]" not in seen


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_split_is_seen_alike_once_the_answer_has_begun(data: st.DataObject) -> None:
    parts = [
        ROLE,
        chunk("a", usage=None),
        chunk("日本"),
        b"{broken",
        {"error": {"message": "x"}},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        chunk(finish="stop", usage=None),
    ]
    drawn = data.draw(st.lists(st.sampled_from(parts), max_size=8))
    begin, rest = sse(chunk("!"), done=False), sse(*drawn, done=data.draw(st.booleans()))
    hides = data.draw(st.booleans())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rest)), max_size=6)))
    pieces = [piece for a, b in pairwise([0, *cuts, len(rest)]) if (piece := rest[a:b])]
    one, other = stream(hides_usage=hides), stream(hides_usage=hides)
    assert reply_to(one, begin, *pieces) == reply_to(other, begin, rest)
    assert one.usage == other.usage
