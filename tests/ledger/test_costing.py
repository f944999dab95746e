"""The cost of a call: one leg for each part of an answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import ROLE, chunk, make_call, sse
from kit.ledger_lines import NOW
from kit.replies import ScriptedSource

from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.ledger.costing import MOST_OUTPUT, Costing, legs_of
from flask_gateway.model.call import AnswerPart, Attempt, Call, Operation, Outcome, Usage
from flask_gateway.model.errors import CallerLeft, UpstreamCut, UpstreamError, Verdict
from flask_gateway.model.reply import Reply
from flask_gateway.model.spend import Leg, Spend
from flask_gateway.pricing.rates import ModelPrice, Period, Rates
from flask_gateway.pricing.table import Prices, shipped
from flask_gateway.streaming.resume import resumable

#: 1 and 2 US dollars per million tokens: the prices of the cases.
P = ModelPrice((Period(Rates(input=1_000_000, output=2_000_000)),))
TWICE = ModelPrice((Period(Rates(input=2_000_000, output=4_000_000)),))
#: A prompt of 4000 characters in messages, 1000 tokens.
LONG = [{"role": "user", "content": "x" * 4000}]
COSTING = Costing(Prices({("llama", "m"): P, ("spare", "m"): TWICE}, []), {})


def ended(
    *script: bytes | Exception, stream: bool = True, leave: int | None = None, **fields: Any
) -> tuple[Leg, ...]:
    """The legs of a call to ``llama`` that received this answer."""
    call = make_call(stream=stream, messages=LONG, **fields)
    reply = Reply(ScriptedSource(*script), transcript_for(call, "llama"), "llama", "m").prime()
    outcomes: list[Outcome] = []
    reply.on_settled(outcomes.append)
    for _, _ in zip(range(leave if leave is not None else 10**6), reply, strict=False):
        pass
    reply.close()
    return legs_of(call, outcomes[0], COSTING)


def costs(legs: tuple[Leg, ...]) -> list[tuple[int | None, str]]:
    return [(leg.cost, leg.source) for leg in legs]


def test_usage_in_a_chunk_with_choices_counts() -> None:
    usage = {"prompt_tokens": 990, "completion_tokens": 200}
    assert costs(ended(sse(ROLE, chunk("a"), chunk(finish="stop", usage=usage)))) == [(1_390_000, "reported")]


def test_a_stream_without_usage_is_estimated() -> None:
    assert costs(ended(sse(ROLE, chunk("y" * 400), chunk(finish="stop")))) == [(1_200_000, "estimated")]


@pytest.mark.parametrize("stream", [True, False])
def test_usage_of_zero_is_no_missing_usage(stream: bool) -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    whole = {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}], "usage": usage}
    answer = sse(ROLE, chunk("a"), chunk(finish="stop"), {"choices": [], "usage": usage})
    assert costs(ended(answer if stream else msgspec.json.encode(whole), stream=stream)) == [(0, "reported")]


def test_a_caller_who_leaves_pays_for_what_was_forwarded() -> None:
    cut = sse(ROLE, chunk("y" * 400), done=False), sse(chunk("z" * 400), done=False)
    assert costs(ended(*cut, leave=1)) == [(1_200_000, "estimated")]


def test_a_caller_who_leaves_before_the_first_token_pays_for_the_prompt() -> None:
    call = make_call(messages=LONG)
    error = CallerLeft("gone")
    call.attempts.append(Attempt.failed("llama", error, 1.0, "m"))
    assert costs(legs_of(call, Outcome.of_error(error), COSTING)) == [(1_000_000, "estimated")]


def test_a_caller_who_leaves_while_tokens_are_counted_pays_nothing() -> None:
    call = msgspec.structs.replace(make_call(messages=LONG), operation=Operation.COUNT)
    error = CallerLeft("gone")
    call.attempts.append(Attempt.failed("llama", error, 1.0, "m"))
    assert legs_of(call, Outcome.of_error(error), COSTING) == ()


@pytest.mark.parametrize("error", [UpstreamError("500"), UpstreamCut("cut before content")])
def test_a_call_that_no_upstream_answered_costs_nothing(error: UpstreamError) -> None:
    call = make_call(messages=LONG)
    call.attempts.append(Attempt.failed("llama", error, 1.0, "m"))
    assert legs_of(call, Outcome.of_error(error), COSTING) == ()


def test_after_a_fallback_the_upstream_that_answered_is_the_one_leg() -> None:
    call = make_call(messages=LONG)
    call.attempts.append(Attempt("llama", "500", 1.0, "m"))
    outcome = Outcome(Verdict.SUCCESS, Usage(990, 200), upstream="spare", model="m")
    (leg,) = legs_of(call, outcome, COSTING)
    assert (leg.upstream, leg.cost) == ("spare", 2_780_000)


@pytest.mark.parametrize(
    ("told", "leg", "seen"),
    [
        # Case 38: an upstream that reports its usage with every chunk.
        ({"prompt_tokens": 990, "completion_tokens": 100}, (1_190_000, "reported"), Usage(990, 200)),
        (None, (1_200_000, "estimated"), Usage(1000, 200, source="estimated")),
    ],
)
def test_a_resumed_stream_has_two_legs(
    told: dict[str, int] | None, leg: tuple[int, str], seen: Usage
) -> None:
    call = make_call(stream=True, messages=LONG)

    def reply(name: str, *script: bytes | Exception) -> Reply:
        return Reply(ScriptedSource(*script), transcript_for(call, name), name, "m").prime()

    usage = {"prompt_tokens": 1090, "completion_tokens": 100}
    first = reply("llama", sse(ROLE, chunk("y" * 400, usage=told), done=False), UpstreamCut("cut"))
    second = reply("spare", sse(ROLE, chunk("z" * 400), chunk(finish="stop", usage=usage)))
    both, outcomes = resumable(first, call, lambda begun: second), []
    both.on_settled(outcomes.append)
    b"".join(both)
    assert costs(legs_of(call, outcomes[0], COSTING)) == [leg, (2_580_000, "reported")]
    assert outcomes[0].usage == seen


def test_legs_cost_what_the_upstreams_reported() -> None:
    parts = (AnswerPart("llama", "m", Usage(990, 100)), AnswerPart("spare", "m", Usage(1090, 100)))
    legs = legs_of(make_call(), Outcome(Verdict.SUCCESS, parts=parts), COSTING)
    assert [leg.cost for leg in legs] == [1_190_000, 2_580_000]


def test_a_model_without_a_price_has_no_known_cost() -> None:
    legs = legs_of(make_call(), Outcome(Verdict.SUCCESS, Usage(1, 1), upstream="other", model="m"), COSTING)
    assert costs(legs) == [(None, "reported")]
    assert Spend(legs=legs).cost is None


def test_the_price_is_that_of_the_moment_at_which_the_upstream_was_asked() -> None:
    dated = ModelPrice((Period(Rates(input=10**6)), Period(Rates(input=500_000), begins=NOW)))
    costing = Costing(Prices({("llama", "m"): dated}, []), {})

    def cost(asked: float) -> int | None:
        outcome = Outcome(Verdict.SUCCESS, Usage(1000, 0), upstream="llama", model="m")
        outcome = msgspec.structs.replace(outcome, started_ns=int(asked * 1e9))
        return legs_of(make_call(), outcome, costing)[0].cost

    assert (cost(NOW - 0.1), cost(NOW)) == (1_000_000, 500_000)


def test_details_of_the_usage_are_billed() -> None:
    usage = {
        "input_tokens": 5,
        "output_tokens": 255,
        "cache_creation_input_tokens": 4735,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 4735},
    }
    costing = Costing(Prices({}, [("shipped", shipped())]), {"llama": "anthropic"})
    assert costs_of(costing, "claude-sonnet-4-20250514", usage) == 32_250_000
    del usage["cache_creation"]
    assert costs_of(costing, "claude-sonnet-4-20250514", usage) == 21_596_250


def test_audio_and_service_tiers_are_billed() -> None:
    usage = {
        "prompt_tokens": 150,
        "completion_tokens": 20,
        "total_tokens": 170,
        "prompt_tokens_details": {"audio_tokens": 50},
        "completion_tokens_details": {"audio_tokens": 20},
    }
    costing = Costing(Prices({}, [("shipped", shipped())]), {"llama": "openai"})
    assert costs_of(costing, "gpt-realtime", usage) == 3_280_000
    plain = {"prompt_tokens": 1000, "completion_tokens": 100}
    usual, flex = (costs_of(costing, "o3", plain, service_tier=tier) for tier in ("default", "flex"))
    assert usual == 2 * flex  # type: ignore[operator]


def costs_of(costing: Costing, model: str, usage: dict[str, Any], **more: Any) -> int | None:
    """The cost of an answer with this usage, the same for a document and for a stream."""
    found = set()
    document = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": usage, **more}
    stream = sse(ROLE, chunk("a"), chunk(finish="stop"), {"choices": [], "usage": usage, **more})
    for body, streamed in ((msgspec.json.encode(document), False), (stream, True)):
        call: Call = make_call(model, stream=streamed)
        reply = Reply(ScriptedSource(body), transcript_for(call, "llama"), "llama", model, NOW * 10**9)
        outcomes: list[Outcome] = []
        reply.on_settled(outcomes.append)
        b"".join(reply)
        found.add(legs_of(call, outcomes[0], costing)[0].cost)
    (cost,) = found
    return cost


def test_the_legs_are_computed_once() -> None:
    call = msgspec.structs.replace(make_call(), spend=Spend())
    outcome = Outcome(Verdict.SUCCESS, Usage(1, 1), upstream="llama", model="m")
    assert COSTING.legs(call, outcome) is COSTING.legs(call, outcome)
    assert call.spend is not None
    assert call.spend.cost == 3000


@pytest.mark.parametrize(("limit", "tokens"), [(None, MOST_OUTPUT), (500, 500), (0, MOST_OUTPUT), (1, 1)])
def test_a_response_in_the_background_costs_its_limit(limit: int | None, tokens: int) -> None:
    fields = {"background": True, **({"max_output_tokens": limit} if limit is not None else {})}
    call = msgspec.structs.replace(make_call(**fields), operation=Operation.RESPONSE)
    begun = Outcome(Verdict.SUCCESS, Usage(10, 1, source="estimated"), upstream="llama", model="m")
    assert [leg.units.output for leg in legs_of(call, begun, COSTING)] == [tokens]
    reported = msgspec.structs.replace(begun, usage=Usage(10, 7))
    assert [leg.units.output for leg in legs_of(call, reported, COSTING)] == [7]


def test_a_fetched_response_has_no_leg() -> None:
    call = msgspec.structs.replace(make_call(), operation=Operation.STORED)
    assert legs_of(call, Outcome(Verdict.SUCCESS, upstream="llama", model="responses"), COSTING) == ()
