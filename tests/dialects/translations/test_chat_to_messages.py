"""Tests translations of chat to Anthropic's Messages beyond the golden cases: fields, SDKs, errors."""

from __future__ import annotations

import json
import re
from typing import Any, get_args, get_type_hints

import pytest
from kit import golden
from kit.sdks import httpx2, openai

from flask_gateway.dialects.translations.chat_messages import _FIELDS_OF, _IDLE
from flask_gateway.dialects.translations.chat_to_messages import CHAT_TO_MESSAGES, FIELDS
from flask_gateway.model.errors import UpstreamMalformed, UpstreamRefusal

CASES = golden.cases("chat-to-messages")
#: Fields of messages that are refused by name.
REFUSED_IN_MESSAGES = {"audio", "function_call"}


def test_every_field_of_the_sdk_is_mapped_without_effect_or_refused() -> None:
    known = {*FIELDS.mapped, *FIELDS.without_effect, *FIELDS.refused}
    fields = openai.types.chat.completion_create_params.CompletionCreateParamsBase
    assert set(get_type_hints(fields)) - known == set()
    assert len(known) == len(FIELDS.mapped) + len(FIELDS.without_effect) + len(FIELDS.refused)


def test_every_field_of_a_message_is_known() -> None:
    kinds = map(get_type_hints, get_args(openai.types.chat.ChatCompletionMessageParam))
    fields = {get_args(hints["role"])[0]: set(hints) for hints in kinds}
    assert len(fields) == 6
    for role in fields.keys() - {"function"}:  # deprecated, and refused as a role
        assert fields[role] - _FIELDS_OF[role] - _IDLE <= REFUSED_IN_MESSAGES, role


def read_by_sdk(data: bytes, *, stream: bool) -> Any:
    """The completion that the official client makes of these bytes."""
    kind = "text/event-stream" if stream else "application/json"
    answer = lambda request: httpx2.Response(200, content=data, headers={"content-type": kind})  # noqa: E731
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    body: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    with openai.OpenAI(api_key="k", base_url="http://gateway.test/v1", http_client=http) as client:
        if not stream:
            return client.chat.completions.create(**body)
        with client.chat.completions.stream(**body) as events:
            for _ in events:
                pass
            return events.get_final_completion()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "answered" in case])
def test_the_official_client_reads_what_callers_get(name: str) -> None:
    case = CASES[name]
    stream = isinstance(case["given"], list)
    if re.search(r'"finish_reason":"(?:length|content_filter)', "".join(case["given"])) and stream:
        return  # the client raises an error of its own
    data = "\n".join(case["given"]) if stream else case["given"]
    completion = read_by_sdk(data.encode(), stream=stream)
    message = completion.choices[0].message
    text, calls = said(case["answered"] if stream else [case["answered"]])
    assert (message.content or "") == text
    read = [
        (call.id, call.function.name, json.loads(call.function.arguments))
        for call in message.tool_calls or ()
    ]
    assert read == calls
    if completion.usage is not None:
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (115, 7)


def said(events: list[dict[str, Any]]) -> tuple[str, list[tuple[str, str, Any]]]:
    """The text and the calls of an answer of Anthropic's API."""
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event.get("type") == "message":
            blocks = [{**block, "json": ""} for block in event["content"]]
        elif event.get("type") == "content_block_start":
            blocks.append({**event["content_block"], "json": ""})
        elif event.get("type") == "content_block_delta":
            delta = event["delta"]
            blocks[-1]["json"] += delta.get("partial_json", "")
            if "text" in delta:
                blocks[-1]["text"] += delta["text"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [block for block in blocks if block["type"] == "tool_use"]
    inputs = [json.loads(call["json"] or json.dumps(call["input"])) for call in calls]
    return text, [(call["id"], call["name"], made) for call, made in zip(calls, inputs, strict=True)]


def test_an_error_behind_text_ends_the_stream_without_its_last_event() -> None:
    case = CASES["49-usage-not-asked"]
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = [golden.answered({"answered": [event]}) for event in [*case["answered"][:4], overloaded]]
    _, reply = golden.replied(case, CHAT_TO_MESSAGES, events)
    data = golden.given(reply)
    assert b'"content":"lo ' in data
    assert data.splitlines()[-2].startswith(b'data: {"error":{')
    assert b"[DONE]" not in data


def test_an_event_of_another_shape_breaks_the_answer() -> None:
    case = CASES["49-usage-not-asked"]
    odd = [*case["answered"][:4], {"type": "content_block_stop", "index": "x"}]
    _, reply = golden.replied(case, CHAT_TO_MESSAGES, [golden.answered({"answered": [one]}) for one in odd])
    assert b'"error"' in golden.given(reply)
    assert reply.outcome is not None
    assert isinstance(reply.outcome.error, UpstreamMalformed)


def test_a_refusal_is_in_the_words_of_chat() -> None:
    error = UpstreamRefusal("no", status=400, error_object={"message": "no thinking"})
    error.body = b'{"type":"error"}'
    worded = CHAT_TO_MESSAGES.refusal(error)
    assert isinstance(worded, UpstreamRefusal)
    assert (worded.body, worded.error_object) == (None, {"message": "no thinking"})


@pytest.mark.parametrize("name", ["49-usage-asked", "49-whole"])
def test_every_unit_of_the_answer_is_counted(name: str) -> None:
    case = CASES[name]
    _, reply = golden.replied(case, CHAT_TO_MESSAGES, [golden.answered(case)])
    golden.given(reply)
    assert reply.outcome is not None
    usage = reply.outcome.usage
    assert usage is not None
    units = usage.units
    assert (units.input, units.cached, units.write, units.output, units.reasoning) == (115, 100, 5, 7, 2)
