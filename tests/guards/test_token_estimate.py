"""The estimate of a call's tokens: what is read of the prompt, what the caller allows, what was learned."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.media_calls import media_call

from flask_gateway.guards.token_estimate import MOST_OUTPUT, PART_TOKENS, REMEMBERED, Estimates
from flask_gateway.model.call import Call, Caller, Operation, Usage
from flask_gateway.model.limits import CallLimits, Estimate


def estimate(estimates: Estimates, call: Call) -> Estimate:
    return estimates.of(call, CallLimits(()))


def learn(estimates: Estimates, call: Call, usage: Usage) -> None:
    estimates.learn(call, CallLimits(()), usage)


def prompt(size: int, **fields: Any) -> Call:
    """A call whose ``messages`` have so many bytes."""
    empty = len(msgspec.json.encode([{"role": "user", "content": ""}]))
    return make_call(messages=[{"role": "user", "content": "x" * (size - empty)}], **fields)


def test_four_bytes_of_the_prompt_are_a_token_and_two_at_the_least() -> None:
    assert estimate(Estimates(), prompt(4000, max_tokens=500)) == Estimate(1000, 500, 2000, 500)


def test_the_guess_rises_at_once_and_sinks_slowly() -> None:
    """Case 4 of the design: 3 048 000, 9 000 000 and 8 500 000 nano-dollars at 1000 and 2000 a token."""
    estimates, call = Estimates(), prompt(4000)
    held = []
    for answer in (4000, 100, 0):
        found = estimate(estimates, call)
        held.append(found.input * 1000 + found.output * 2000)
        learn(estimates, call, Usage(1000, answer))
    assert held == [3_048_000, 9_000_000, 8_500_000]


@pytest.mark.parametrize(
    ("fields", "output", "most"),
    [
        ({"max_tokens": 500}, 500, 500),
        ({"max_tokens": 500, "max_completion_tokens": 700}, 700, 700),
        ({"max_output_tokens": 32_000}, 1024, 32_000),
        ({"max_tokens": 500, "n": 3}, 1500, 1500),
        ({"n": 2}, 2048, 2 * MOST_OUTPUT),
        ({"n": 10**9, "max_tokens": 1}, 128, 128),
        ({"max_tokens": "many"}, 1024, MOST_OUTPUT),
        ({"max_tokens": -1}, 1024, MOST_OUTPUT),
        ({"max_tokens": True}, 1024, MOST_OUTPUT),
        ({"max_tokens": None}, 1024, MOST_OUTPUT),
        ({"max_tokens": 10**30}, 1024, MOST_OUTPUT),
        ({"max_tokens": 0}, 1024, MOST_OUTPUT),
    ],
)
def test_the_answer_is_what_the_caller_allows_but_no_more_than_the_guess(
    fields: dict[str, Any], output: int, most: int
) -> None:
    found = estimate(Estimates(), make_call(**fields))
    assert (found.output, found.most_output) == (output, most)


def test_a_picture_counts_a_thousand_tokens_and_not_its_bytes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    text = {"type": "text", "text": "x" * 400}
    found = estimate(Estimates(), make_call(messages=[{"role": "user", "content": [text, picture, picture]}]))
    assert 100 <= found.input - 2 * PART_TOKENS <= 110


def test_text_that_has_types_or_looks_like_a_picture_counts_by_its_bytes() -> None:
    parts = [{"type": "text", "text": "x" * 400}]
    assert 100 <= estimate(Estimates(), make_call(messages=[{"role": "user", "content": parts}])).input <= 120
    text = 'data:image/png;base64,"input_audio"' + "x" * 365
    assert 100 <= estimate(Estimates(), make_call(messages=[{"role": "user", "content": text}])).input <= 120


@pytest.mark.parametrize("before", [0, 10, 40])
def test_a_picture_is_found_behind_any_number_of_quotes(before: int) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    quotes = [{"role": "user", "content": "x"}] * before
    messages = [*quotes, {"role": "user", "content": [picture]}]
    assert PART_TOKENS <= estimate(Estimates(), make_call(messages=messages)).input < 2 * PART_TOKENS


def test_an_embedding_has_no_answer_tokens() -> None:
    call = msgspec.structs.replace(prompt(400), operation=Operation.EMBEDDING)
    estimates = Estimates()
    learn(estimates, call, Usage(100, 0))
    assert estimate(estimates, call) == Estimate(100, 0, 200, 0)


def test_guesses_are_of_one_key_and_model_and_the_oldest_are_forgotten() -> None:
    estimates = Estimates()
    first, other = make_call("a"), make_call("a", caller=Caller("other", 0))
    learn(estimates, first, Usage(1, 5000))
    assert estimate(estimates, first).output == 5000
    assert estimate(estimates, other).output == 1024
    for number in range(REMEMBERED):
        learn(estimates, make_call(f"m{number}"), Usage(1, 1))
    assert estimate(estimates, first).output == 1024


def test_it_is_worked_out_once_a_call() -> None:
    estimates, call, limits = Estimates(), make_call(), CallLimits(())
    first = estimates.of(call, limits)
    learn(estimates, call, Usage(1, 9000))
    assert estimates.of(call, limits) is first


def test_calls_on_sound_and_pictures_have_units_of_their_own() -> None:
    found = estimate(Estimates(), media_call(Operation.IMAGE, prompt="A fox", n=2))
    assert found.units is not None
    assert (found.units.images, found.output) == (2, found.most_output)
    assert estimate(Estimates(), prompt(4000)).units is None
