"""Tests that a reply settles exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kit.replies import PlainTranscript, ScriptedSource

from flask_gateway.model.call import Outcome, Usage
from flask_gateway.model.errors import GatewayError, UpstreamCut, UpstreamTimeout, Verdict
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
    assert told == [Outcome(Verdict.SUCCESS, Usage(1, 2), upstream="llama")]
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


def ended(name: str, reply: Reply) -> None:
    """End the reply in that way."""
    if name == "the caller has left":
        reply.prime().close()
        reply.close()
    elif name == "it failed before the commit":
        with pytest.raises(UpstreamTimeout):
            reply.prime()
        reply.close()
    else:
        list(reply.prime())
        reply.close()


ENDS = {
    "drained": ([b"a", b"!"], Verdict.SUCCESS),
    "the caller has left": ([b"a", b"b"], Verdict.IGNORED),
    "the upstream was cut": ([b"a", UpstreamCut("gone")], Verdict.FAILURE),
    "a bug of ours": ([b"a", RuntimeError("bug")], Verdict.IGNORED),
    "it failed before the commit": ([UpstreamTimeout("late")], Verdict.FAILURE),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fails", [False, True], ids=["", "every closer fails"])
@pytest.mark.parametrize("later", [False, True], ids=["at once", "on another thread"])
def test_witnesses_run_once_after_every_closer(end: str, fails: bool, later: bool) -> None:
    script, verdict = ENDS[end]
    reply, _, _ = make(*script)
    steps: list[str] = []
    seen: list[Outcome] = []
    postponed: list[Callable[[], None]] = []

    def closer(name: str) -> Callable[[Outcome], None]:
        def run(outcome: Outcome) -> None:
            steps.append(name)
            if fails:
                raise RuntimeError("it could not settle")

        return run

    def witness(outcome: Outcome) -> None:
        steps.append("witness")
        seen.append(outcome)
        raise RuntimeError("a witness that fails stops no other")

    reply.on_settled(witness)  # the order in which closers and witnesses are added does not matter
    reply.on_close(closer("outer"))
    reply.on_settled(witness)
    reply.on_close(closer("inner"))
    if later:
        reply.settle_with(postponed.append)
    ended(end, reply)
    if later:
        assert steps == []
        for work in postponed:
            work()
    assert steps == ["inner", "outer", "witness", "witness"]
    assert [outcome.verdict for outcome in seen] == [verdict, verdict]
    assert seen[0] is reply.outcome


@pytest.mark.parametrize("end", ENDS)
def test_an_outcome_says_which_upstream_and_model_answered_and_when(end: str) -> None:
    reply = Reply(
        ScriptedSource(*ENDS[end][0]), PlainTranscript(), "llama", "llama-3", 1_700_000_000_000_000_000
    )
    seen: list[Outcome] = []
    reply.on_settled(seen.append)
    ended(end, reply)
    (outcome,) = seen
    assert (outcome.upstream, outcome.model, outcome.started_ns) == ("llama", "llama-3", 17 * 10**17)


class Wordless(PlainTranscript):
    """A transcript that has no word for an error, as sound has none."""

    ping = b""

    def cut(self, error: GatewayError) -> bytes:
        return b""


def test_an_answer_without_a_word_for_errors_is_truncated() -> None:
    reply = Reply(ScriptedSource(b"a", UpstreamCut("gone")), Wordless(), "up")
    with pytest.raises(ConnectionAbortedError):
        list(reply)
    assert reply.truncated
    whole = Reply(ScriptedSource(b"a"), Wordless(), "up")
    assert list(whole) == [b"a", b"."]
    assert not whole.truncated
