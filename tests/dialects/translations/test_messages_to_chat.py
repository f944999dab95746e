"""Tests translations of Anthropic's Messages to chat beyond the golden cases: fields, SDKs, errors."""

from __future__ import annotations

import json
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from kit import golden
from kit.sdks import anthropic, httpx2
from kit.translating import SpokenUpstream

from flask_gateway.dialects.translations.message_blocks import _FIELDS_OF, _IDLE
from flask_gateway.dialects.translations.messages_to_chat import _TOOL, _TOOL_IDLE, FIELDS, MESSAGES_TO_CHAT
from flask_gateway.model.errors import UpstreamMalformed, UpstreamTooLong
from flask_gateway.model.quirks import TranslationTarget
from flask_gateway.upstreams.translating import TranslatingUpstream

CASES = golden.cases("messages-to-chat")
#: Fields of blocks that are refused by name.
REFUSED_IN_BLOCKS = {"toolset_name"}


def test_every_field_of_the_sdk_is_mapped_without_effect_or_refused() -> None:
    known = {*FIELDS.mapped, *FIELDS.without_effect, *FIELDS.refused}
    fields = anthropic.types.beta.message_create_params.MessageCreateParamsBase
    assert set(get_type_hints(fields)) - known == set()
    assert len(known) == len(FIELDS.mapped) + len(FIELDS.without_effect) + len(FIELDS.refused)


def test_every_field_of_a_block_that_is_mapped_is_known() -> None:
    blocks = [
        get_type_hints(block)
        for block in get_args(anthropic.types.beta.BetaContentBlockParam)
        if hasattr(block, "__annotations__")
    ]
    kinds = {get_args(hints["type"])[0]: set(hints) for hints in blocks}
    assert len(kinds) > 15
    for kind, fields in kinds.items():
        assert fields - _FIELDS_OF.get(kind, fields) - _IDLE <= REFUSED_IN_BLOCKS, kind
    assert set(get_type_hints(anthropic.types.beta.BetaToolParam)) <= _TOOL | _TOOL_IDLE


def read_by_sdk(data: bytes, *, stream: bool) -> Any:
    """The message that the official client makes of these bytes."""
    kind = "text/event-stream" if stream else "application/json"
    answer = lambda request: httpx2.Response(200, content=data, headers={"content-type": kind})  # noqa: E731
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    body: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    with anthropic.Anthropic(api_key="k", base_url="http://gateway.test", http_client=http) as client:
        if not stream:
            return client.messages.create(**body)
        with client.messages.stream(**body) as events:
            return events.get_final_message()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "answered" in case])
def test_the_official_client_reads_what_callers_get(name: str) -> None:
    case = CASES[name]
    stream = isinstance(case["given"], list)
    data = "\n".join(case["given"]) if stream else case["given"]
    if not data.startswith(("event", "{")):
        return
    message = read_by_sdk(data.encode(), stream=stream)
    chunks = (
        [chunk for chunk in case["answered"] if isinstance(chunk, dict)] if stream else [case["answered"]]
    )
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert text_of(message) == said(choices)
    usage = next((chunk["usage"] for chunk in chunks if "usage" in chunk), None)
    if usage is not None:
        read = message.usage.input_tokens + message.usage.cache_read_input_tokens
        assert (read, message.usage.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])


def text_of(message: Any) -> tuple[str, dict[str, Any]]:
    texts = [block.text for block in message.content if block.type == "text"]
    calls = {block.id: (block.name, block.input) for block in message.content if block.type == "tool_use"}
    return "".join(texts), calls


def said(choices: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The text and the calls of an answer of chat."""
    text, calls, newest = "", {}, {}
    for choice in choices:
        part = choice.get("delta") or choice.get("message") or {}
        content = part.get("content") or ""
        text += content if isinstance(content, str) else "".join(each["text"] for each in content)
        for call in part.get("tool_calls") or ():
            if "id" in call:
                newest[call.get("index")] = calls[call["id"]] = [call["function"]["name"], ""]
            newest[call.get("index")][1] += call["function"].get("arguments", "")
    return text, {id_: (name, json.loads(arguments or "{}")) for id_, (name, arguments) in calls.items()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            "request (9,000 tokens) exceeds the available context size (8192 tokens), try increasing it",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        ("Too long.", "prompt is too long"),
    ],
)
def test_a_long_prompt_is_refused_in_the_words_that_clients_know(words: str, message: str) -> None:
    fields = {"message": words, "type": "invalid_request_error"}
    error = UpstreamTooLong("x", status=413, error_object=fields)
    worded = MESSAGES_TO_CHAT.refusal(error)
    assert isinstance(worded, UpstreamTooLong)
    assert (worded.status, worded.error_object["message"]) == (400, message)


def test_arguments_that_break_behind_content_are_an_error_event() -> None:
    case = CASES["33-broken-arguments"]
    events = [golden.answered(case | {"answered": [event]}) for event in case["answered"]]
    _, reply = golden.replied(case, MESSAGES_TO_CHAT, events)
    data = golden.given(reply)
    assert b"event: content_block_start" in data
    assert data.splitlines()[-3] == b"event: error"
    assert reply.outcome is not None
    assert isinstance(reply.outcome.error, UpstreamMalformed)


def test_turns_share_their_beginning_byte_for_byte() -> None:
    """Otherwise the upstream's prefix cache does not know the second turn."""
    bodies = []
    for name in ("03-first-turn-stream", "04-after-two-parallel-tools"):
        fields = msgspec.json.decode(golden.recorded(name), type=dict[str, msgspec.Raw])
        case = CASES["19-deferred-tools"]
        call = msgspec.structs.replace(golden.call_of(case, MESSAGES_TO_CHAT), fields=fields)
        upstream = SpokenUpstream(b"{}")
        TranslatingUpstream(upstream, MESSAGES_TO_CHAT, TranslationTarget("up"), None).send(call)
        bodies.append(upstream.sent["messages"])
    first, second = bodies
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert [message["role"] for message in second] == [
        "system",
        "user",
        "system",
        "assistant",
        "tool",
        "tool",
    ]
    assert second[0] == first[0]
    assert second[2] == first[2]


@pytest.mark.parametrize("name", ["32-cached-stream", "32-cached-whole"])
def test_every_unit_of_the_answer_is_counted(name: str) -> None:
    case = CASES[name]
    _, reply = golden.replied(case, MESSAGES_TO_CHAT, [golden.answered(case)])
    golden.given(reply)
    assert reply.outcome is not None
    usage = reply.outcome.usage
    assert usage is not None
    units = usage.units
    assert (units.input, units.cached, units.output, units.reasoning) == (100, 80, 5, 2)


@pytest.mark.parametrize(
    ("choice", "broken"),
    [
        ({"index": "0", "delta": {"content": "b"}}, False),
        ({"index": 0, "delta": {"content": "b"}, "finish_reason": 7}, False),
        ({"index": 0, "delta": {"tool_calls": [{"index": 0, "id": 5}]}}, True),
        ({"index": 0, "delta": {"tool_calls": {"a": 1}}}, True),
    ],
)
def test_no_part_of_an_answer_is_lost_for_an_odd_type(choice: dict[str, Any], broken: bool) -> None:
    case = CASES["25-empty-tool-calls"]
    events = [case["answered"][0], {"choices": [choice]}, *case["answered"][1:]]
    _, reply = golden.replied(
        case, MESSAGES_TO_CHAT, [golden.answered({"answered": [one]}) for one in events]
    )
    data = golden.given(reply)
    assert (b"event: error" in data) == broken
    assert (b'"text":"b"' in data) != broken
