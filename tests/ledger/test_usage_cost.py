"""A stream's usage has its cost, if the caller asked for usage and the price is known."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from kit.calls import make_call
from kit.replies import ScriptedSource

from flask_gateway.dialects.stream_transcript import StreamTranscript
from flask_gateway.ledger.costing import Costing
from flask_gateway.ledger.usage_cost import MARK, CostInUsage, asks_for_usage
from flask_gateway.model.call import AnswerPart, Call, Usage
from flask_gateway.model.reply import Reply
from flask_gateway.pricing.rates import ModelPrice, Period, Rates
from flask_gateway.pricing.table import Prices

PRICE = ModelPrice((Period(Rates(input=1_000_000, output=2_000_000)),))
COSTING = Costing(Prices({("up", "m"): PRICE}, []), {})
CONTENT = b'data: {"choices":[{"index":0,"delta":{"content":"the \\"usage\\""}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
USAGE = b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":990,"completion_tokens":200,"cost":5}}\n\n'
DONE = b"data: [DONE]\n\n"


def asking(**fields: Any) -> Call:
    fields = {"stream_options": {"include_usage": True}, **fields}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    call = make_call(stream=True)
    return msgspec.structs.replace(call, fields={**call.fields, **raw})


def told(reply: Reply, call: Call) -> list[Any]:
    """The data of each event as a caller gets it."""
    reply.restate_with(CostInUsage(reply, call, COSTING).restate, MARK)
    events = b"".join(reply).split(b"\n\n")
    assert events.pop() == b""
    data = [event.removeprefix(b"data: ") for event in events]
    return [one if one == b"[DONE]" else json.loads(one, parse_float=Decimal) for one in data]


@pytest.mark.parametrize("chunks", [(CONTENT + FINISH + USAGE + DONE,), (CONTENT, FINISH, USAGE, DONE)])
@pytest.mark.parametrize("primed", [True, False])
def test_the_last_chunk_has_the_cost(chunks: tuple[bytes, ...], primed: bool) -> None:
    call = asking()
    reply = Reply(ScriptedSource(*chunks), StreamTranscript(call, "up"), "up", "m")
    if primed:
        reply.prime()
    content, finish, usage, done = told(reply, call)
    assert content["choices"][0]["delta"]["content"] == 'the "usage"'
    assert finish["usage"] is None
    assert usage["usage"] == {
        "prompt_tokens": 990,
        "completion_tokens": 200,
        "cost": Decimal("0.001390000"),
    }
    assert done == b"[DONE]"


def test_usage_in_a_chunk_with_choices_has_the_cost(  # case 32
) -> None:
    call = asking()
    chunk = FINISH.replace(b"null}", b'{"prompt_tokens":1,"completion_tokens":1}}')
    reply = Reply(ScriptedSource(CONTENT + chunk + DONE), StreamTranscript(call, "up"), "up", "m")
    assert told(reply, call)[1]["usage"]["cost"] == Decimal("0.000003000")


def test_a_cost_that_is_unknown_is_not_told() -> None:
    call = asking()
    reply = Reply(
        ScriptedSource(CONTENT + FINISH + USAGE + DONE), StreamTranscript(call, "other"), "other", "m"
    )
    assert told(reply, call)[2]["usage"]["cost"] == 5  # as the upstream sent it


class Resumed(Reply):
    def parts(self) -> tuple[AnswerPart, ...]:
        return AnswerPart("up", "m", Usage(10, 5)), AnswerPart("up", "m", Usage(15, 5))


def test_a_resumed_stream_has_the_cost_of_both_parts() -> None:
    call = asking()
    reply = Resumed(ScriptedSource(CONTENT + FINISH + USAGE + DONE), StreamTranscript(call, "up"), "up", "m")
    assert told(reply, call)[2]["usage"]["cost"] == Decimal("0.000045000")


def test_events_that_cannot_be_read_pass() -> None:
    reply = Reply(ScriptedSource(), StreamTranscript(asking(), "up"), "up", "m")
    changed = CostInUsage(reply, asking(), COSTING).restate
    for events in (
        b"",
        b": ping\n\n",
        b'data: {"usage": \n\n',
        b'data: {"usage":[1]}\n\n',
        b'data: ["usage"]\n\n',
    ):
        assert changed(events) == events


def test_large_events_are_postponed_as_before() -> None:
    call = asking()
    transcript = StreamTranscript(call, "up")
    reply = Reply(ScriptedSource(), transcript, "up", "m")
    reply.restate_with(CostInUsage(reply, call, COSTING).restate, MARK)
    reply.settle_with(lambda work: work())
    assert transcript.postpones


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, True),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": None}, False),
        ({"stream_options": ["include_usage"]}, False),
        ({"stream_options": {"include_usage": True, "x": "y" * 5000}}, False),
    ],
)
def test_a_caller_asks_for_usage_by_stream_options(fields: dict[str, Any], asked: bool) -> None:
    assert asks_for_usage(asking(**fields)) is asked


def test_a_whole_answer_has_its_cost_in_a_header() -> None:
    assert not asks_for_usage(msgspec.structs.replace(asking(), stream=False))
