"""Tests that a reply settles exactly once."""

from __future__ import annotations

import pytest
from kit.replies import PlainTranscript, ScriptedSource

from flask_gateway.model.call import Outcome, Usage
from flask_gateway.model.errors import UpstreamCut, UpstreamTimeout, Verdict
from flask_gateway.model.reply import Reply


def make(*script: bytes | Exception) -> tuple[Reply, ScriptedSource, list[Outcome]]:
    source = ScriptedSource(*script)
    reply = Reply(source, PlainTranscript(), "llama")
    told: list[Outcome] = []
    reply.on_close(told.append)
    return reply, source, told


def test_a_failure_before_the_commit_is_raised_and_settled() -> None:
    reply, source, told = make(UpstreamTimeout("late"))
    with pytest.raises(UpstreamTimeout):
        reply.prime()
    assert [outcome.verdict for outcome in told] == [Verdict.FAILURE]
    assert source.closed == 1
    assert list(reply) == []


def test_a_failure_after_the_commit_becomes_the_last_event() -> None:
    reply, source, told = make(b"a", UpstreamCut("gone"))
    assert list(reply.prime()) == [b"a", b"<upstream_stream_cut>"]
    assert [outcome.verdict for outcome in told] == [Verdict.FAILURE]
    assert (source.closed, source.released) == (1, 0)


def test_an_internal_error_in_the_middle_is_reported_and_blames_no_upstream() -> None:
    reply, _, told = make(b"a", RuntimeError("bug"))
    assert list(reply.prime()) == [b"a", b"<internal_error>"]
    assert told[0].verdict is Verdict.IGNORED


def test_a_close_before_the_end_means_that_the_caller_left() -> None:
    reply, source, told = make(b"a", b"b")
    reply.prime()
    assert next(reply) == b"a"
    reply.close()
    assert [outcome.verdict for outcome in told] == [Verdict.IGNORED]
    assert source.closed == 1
    assert list(reply) == []


def test_a_reply_closed_before_its_first_part_settles() -> None:
    reply, source, told = make(b"a")
    reply.prime().close()
    assert [outcome.verdict for outcome in told] == [Verdict.IGNORED]
    assert source.closed == 1


def test_a_drained_reply_is_a_success_and_a_later_close_changes_nothing() -> None:
    reply, source, told = make(b"a", b"b")
    assert list(reply.prime()) == [b"a", b"b", b"."]
    reply.close()
    reply.close()
    assert told == [Outcome(Verdict.SUCCESS, Usage(1, 2))]
    assert (source.closed, source.released) == (0, 1)


def test_a_reply_closed_after_its_last_chunk_is_drained() -> None:
    reply, _, told = make(b"a!")
    assert next(reply.prime()) == b"a!"
    reply.close()
    assert told[0].verdict is Verdict.SUCCESS


def test_no_empty_chunk_is_forwarded() -> None:
    reply, _, _ = make(b"a", b"-", b"--", b"b")
    assert list(reply.prime()) == [b"a", b"b", b"."]


def test_the_source_is_not_read_after_the_answers_own_end() -> None:
    reply, source, _ = make(b"a", b"b!", b"never")
    assert list(reply.prime()) == [b"a", b"b!"]
    assert source.script == [b"never"]


def test_closers_run_last_added_first_even_if_one_fails() -> None:
    reply, _, told = make(b"a")
    order: list[str] = []

    def broken(outcome: Outcome) -> None:
        order.append("broken")
        raise RuntimeError

    reply.on_close(broken)
    reply.on_close(lambda outcome: order.append("last"))
    list(reply.prime())
    assert order == ["last", "broken"]
    assert len(told) == 1
