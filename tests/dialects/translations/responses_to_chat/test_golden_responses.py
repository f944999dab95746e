"""Plays the golden cases of Responses calls to chat upstreams: byte by byte, and into the official SDK."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from kit.response_cases import ResponseCase, cases, events_of, response_call, sent, spoken, translate
from kit.sdks import httpx2 as httpx
from kit.sdks import openai

from flask_gateway.dialects.openai import DIALECTS
from flask_gateway.dialects.rewritten import RewrittenBody, RewrittenStream
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.dialects.translations.translation import unchanged
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import GatewayError

CASES = cases()
ANSWERED = [case for case in CASES if case.answered]
STREAMS = [case for case in ANSWERED if case.stream]


def named(chosen: list[ResponseCase]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def transcript(case: ResponseCase) -> Any:
    call = response_call(case.asked)
    translated = translate(call)
    inner: Any = transcript_for(spoken(call, translated), "llama")
    if not case.stream:
        return RewrittenBody(inner, translated.rewriter, unchanged)
    dialects = DIALECTS[Operation.CHAT], DIALECTS[Operation.RESPONSE]
    return RewrittenStream(inner, translated.rewriter, unchanged, *dialects)


def given(case: ResponseCase, cuts: list[int]) -> bytes:
    """The caller's answer when the upstream's answer arrives in pieces."""
    events, out = transcript(case), b""
    places = sorted({0, len(case.answered), *cuts})
    try:
        for start, end in itertools.pairwise(places):
            out += events.feed(case.answered[start:end])
        return out + events.end()
    except GatewayError as error:
        return out + events.cut(error)


@named(CASES)
def test_the_body_for_the_upstream(case):
    call = response_call(case.asked)
    assert sent(call, translate(call)) == case.sent


@named(STREAMS)
def test_the_stream_for_the_caller(case):
    assert given(case, []).decode() == case.given.decode()


@named([case for case in ANSWERED if not case.stream])
def test_the_whole_answer_for_the_caller(case):
    assert json.loads(given(case, [])) == json.loads(case.given)


def split_at_random(case: ResponseCase, times: int) -> None:
    chance = random.Random(case.name)
    for _ in range(times):
        cuts = chance.choices(range(len(case.answered)), k=chance.randrange(1, 12))
        assert given(case, cuts) == case.given, cuts


@named(STREAMS)
def test_pieces_change_nothing(case):
    assert given(case, list(range(len(case.answered)))) == case.given
    split_at_random(case, 3)


@pytest.mark.soak
@named(STREAMS)
def test_ten_thousand_splits_change_nothing(case):
    split_at_random(case, 10_000)


# ---------------------------------------------------------------- the official SDK


def client(case: ResponseCase) -> openai.OpenAI:
    kind = "text/event-stream" if case.stream else "application/json"

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": kind}, content=case.given)

    transport = httpx.Client(transport=httpx.MockTransport(answer))
    return openai.OpenAI(base_url="http://x.test/v1", api_key="k", http_client=transport, max_retries=0)


def accumulated(case: ResponseCase) -> dict[str, Any]:
    with client(case).responses.stream(model="llama", input="x") as stream:
        last = [
            event.response for event in stream if event.type in ("response.completed", "response.incomplete")
        ]
    return unparsed(last[-1].to_dict())


def unparsed(value: Any) -> Any:
    """The value without what the SDK adds."""
    if isinstance(value, dict):
        return {name: unparsed(inner) for name, inner in value.items() if not name.startswith("parsed")}
    return [unparsed(inner) for inner in value] if isinstance(value, list) else value


@named([case for case in STREAMS if case.name != "cut"])
def test_the_sdk_accumulates_what_the_last_event_says(case):
    events = list(events_of(case.given))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert accumulated(case)["output"] == events[-1]["response"]["output"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert sorted(done, key=repr) == sorted(events[-1]["response"]["output"], key=repr)


@named([case for case in STREAMS if case.name != "cut"])
def test_deltas_add_up_to_what_is_done(case):
    deltas: dict[tuple[Any, ...], str] = {}
    for event in events_of(case.given):
        kind, _, step = event["type"].rpartition(".")
        place = (kind, event.get("item_id"), event.get("content_index"))
        if step == "delta":
            deltas[place] = deltas.get(place, "") + event["delta"]
        elif step == "done" and place in deltas:
            assert deltas.pop(place) in (event.get("text"), event.get("arguments"), *event.values())
    assert deltas == {}


def test_the_sdk_raises_at_a_cut():
    (case,) = [case for case in STREAMS if case.name == "cut"]
    with pytest.raises(Exception, match="closed the stream"):
        accumulated(case)


@named([case for case in ANSWERED if not case.stream])
def test_the_sdk_reads_a_whole_answer(case):
    answer = client(case).responses.create(model="llama", input="x")
    assert answer.to_dict() == json.loads(case.given)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
