"""Tests what a Responses call loses at a chat upstream: refused by name, left out and told, or no loss."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from kit.response_cases import GOLDEN, response_call, sent, translate

from flask_gateway.model.errors import CallerError, InvalidField, UnsupportedField
from flask_gateway.model.quirks import Unsupported

ASKED = {"input": "Hello"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SEARCH = {"type": "web_search"}

#: Fields, and the path that the refusal names. The first group refers to what a provider stores.
STORED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"background": True}, "background"),
    ({"store": True}, "store"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
    ({"input": [{"id": "msg_1"}]}, "input.0"),
    (
        {"input": [{"role": "user", "content": "a"}, {"type": "compaction", "encrypted_content": "x"}]},
        "input.1",
    ),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}, "include.1"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"moderation": {"model": "m"}}, "moderation"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"a_new_field": 1}, "a_new_field"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ({"tools": [SEARCH]}, "tools.0"),
    ({"tools": [FUNCTION, SEARCH], "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
    ({"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]}, "input.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input.0.content.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input.0.content.0"),
]


def refused(asked: dict[str, Any], **quirks: Any) -> UnsupportedField:
    with pytest.raises(UnsupportedField) as caught:
        translate(response_call(ASKED | asked), **quirks)
    return caught.value


@pytest.mark.parametrize(("asked", "path"), STORED + REFUSED)
def test_a_field_that_chat_cannot_carry_is_refused_by_name(asked, path):
    error = refused(asked)
    assert (error.status, error.code, error.param, error.upstream) == (
        400,
        "unsupported_field",
        path,
        "llama",
    )
    assert f"'{path}'" in error.message
    assert "'llama'" in error.message
    assert "[upstreams.llama]" in error.message  # where the setting stands that would change it


@pytest.mark.parametrize(("asked", "path"), STORED)
def test_state_is_refused_whatever_the_settings_say(asked, path):
    assert refused(asked, unsupported=Unsupported.DROP).param == path


@pytest.mark.parametrize(("asked", "path"), REFUSED)
def test_other_fields_are_dropped_where_the_settings_say_so(asked, path):
    translated = translate(response_call(ASKED | asked), unsupported=Unsupported.DROP)
    assert path in translated.left_out
    assert "a_new_field" not in translated.fields


@pytest.mark.parametrize(
    "asked",
    [
        {"store": False, "background": False, "previous_response_id": None, "conversation": None},
        {"top_logprobs": 0, "context_management": [], "include": [], "moderation": None, "prompt": None},
        {"include": ["reasoning.encrypted_content"], "metadata": {"a": "b"}, "service_tier": "flex"},
        {"truncation": "auto", "max_tool_calls": 3, "stream_options": {"include_obfuscation": False}},
        {"client_metadata": {"a": 1}, "tools": None, "tool_choice": None, "text": None, "reasoning": None},
        {"prompt_cache_key": "k", "safety_identifier": "s", "reasoning": {"summary": "auto"}},
    ],
)
def test_a_field_without_effect_is_accepted(asked):
    translated = translate(response_call(ASKED | asked))
    assert set(translated.fields) == {"messages"}
    assert translated.left_out == ()


def test_an_error_repeats_no_long_name():
    error = refused({"x" * 100_000: 1})
    assert len(error.message) < 1000
    assert len(refused({"tools": [{"type": "y" * 100_000}]}).message) < 1000


def test_many_tools_are_chosen_among_in_time():
    many = [{"type": "function", "name": f"f{number}"} for number in range(20_000)]
    allowed = [{"type": "function", "name": f"g{number}"} for number in range(20_000)]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [*allowed, many[0]]}
    body = sent(call := response_call(ASKED | {"tools": many, "tool_choice": choice}), translate(call))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f0"]


def test_hosted_tools_are_left_out_and_told_when_others_remain():
    translated = translate(response_call(ASKED | {"tools": [SEARCH, FUNCTION, {"type": "tool_search"}]}))
    assert translated.left_out == ("tools.0:web_search", "tools.2:tool_search")


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"input": 7}, "input"),
        ({"instructions": 7}, "instructions"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": 7}]}, "input.0.content"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools.1"),
    ],
)
def test_a_field_of_the_wrong_shape_is_named(asked, path):
    with pytest.raises(InvalidField) as caught:
        translate(response_call(ASKED | asked))
    assert caught.value.param == path


@pytest.mark.parametrize("value", [[], [1], [None], [[]], {}, 7, "x", True, [{"type": 7}], [{"role": 7}]])
@pytest.mark.parametrize(
    "field", ["input", "tools", "tool_choice", "text", "reasoning", "include", "instructions"]
)
def test_no_shape_is_an_internal_error(field, value):
    with suppress(CallerError):
        translate(response_call(ASKED | {field: value}))


# ---------------------------------------------------------------- recordings of Codex


def recorded(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"codex/{name}.json").read_text())["body"]


def test_codex_first_turn_loses_its_web_search_alone():
    call = response_call(recorded("01-custom-provider-first-turn"))
    translated = translate(call)
    body = sent(call, translated)
    assert translated.left_out == ("tools.8:web_search",)
    assert [message["role"] for message in body["messages"]] == ["system", "system", "user", "user"]
    names = [tool["function"]["name"] for tool in body["tools"]]
    assert names[:4] == ["exec_command", "write_stdin", "request_user_input", "view_image"]
    assert "multi_agent_v1__spawn_agent" in names
    assert (body["tool_choice"], body["parallel_tool_calls"], body["stream"]) == ("auto", True, True)


def test_codex_second_turn_has_its_call_and_the_result():
    call = response_call(recorded("02-after-function-call"))
    *_, assistant, result = sent(call, translate(call))["messages"]
    function = {"name": "exec_command", "arguments": '{"cmd": "echo one"}'}
    calls = [{"id": "call_1", "type": "function", "function": function}]
    assert assistant == {"role": "assistant", "content": None, "tool_calls": calls}
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_1")
    assert result["content"].endswith("Output:\none\n")


def test_codex_custom_tool_becomes_a_function():
    call = response_call(recorded("03-builtin-provider-gpt"))
    translated = translate(call)
    assert translated.left_out == ("tools.8:tool_search", "tools.9:web_search", "text.verbosity")
    tools = {tool["function"]["name"]: tool["function"] for tool in sent(call, translated)["tools"]}
    assert tools["apply_patch"]["parameters"]["required"] == ["input"]
    assert "lark grammar" in tools["apply_patch"]["description"]
