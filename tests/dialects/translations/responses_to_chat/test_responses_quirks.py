"""Tests what the quirks of an upstream change in a Responses request that is sent as chat."""

from __future__ import annotations

from typing import Any

import pytest
from kit.response_cases import response_call, sent, translate

from flask_gateway.model.errors import UnsupportedField
from flask_gateway.model.quirks import Effort, InlineSystem

TOOL = {"type": "function", "name": "f"}
PICTURE = {"type": "input_image", "image_url": "https://x.test/a.png"}
FILE = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}
CALLED = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": [PICTURE]}


def body(asked: dict[str, Any], **quirks: Any) -> dict[str, Any]:
    call = response_call({"input": "Hello", **asked})
    return sent(call, translate(call, **quirks))


def messages(items: list[dict[str, Any]], **quirks: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body({"input": items}, **quirks)["messages"]
    return found


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def test_the_limit_of_the_answer():
    assert body({"max_output_tokens": 9})["max_tokens"] == 9
    named = body({"max_output_tokens": 9}, max_tokens_field="max_completion_tokens")
    assert (named["max_completion_tokens"], "max_tokens" in named) == (9, False)
    assert body({"max_output_tokens": 9}, max_output_tokens=5)["max_tokens"] == 5
    assert "max_tokens" not in body({}, max_output_tokens=5)


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        (Effort.FIELD, {"reasoning_effort": "none"}),
        (Effort.TEMPLATE, {"chat_template_kwargs": {"enable_thinking": False}}),
        (Effort.BUDGET, {"reasoning_effort": "none"}),
        (Effort.NONE, {}),
    ],
)
def test_the_effort(effort, expected):
    found = body({"reasoning": {"effort": "none"}}, effort=effort)
    found = {name: value for name, value in found.items() if name not in ("messages", "model")}
    assert found == expected


def test_fields_of_openais_own_servers():
    asked = {"prompt_cache_key": "k", "safety_identifier": "s", "text": {"verbosity": "low"}}
    assert set(body(asked)) == {"messages", "model"}
    found = body(asked, openai_fields=True)
    names = ("prompt_cache_key", "safety_identifier", "verbosity")
    assert [found[name] for name in names] == ["k", "s", "low"]


def test_parallel_calls_and_schemas():
    asked = {"tools": [TOOL], "parallel_tool_calls": False}
    assert body(asked)["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in body(asked, parallel_tools=False)
    schema = {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}
    assert body(schema)["response_format"]["json_schema"]["name"] == "x"
    with pytest.raises(UnsupportedField, match=r"text\.format"):
        body(schema, json_schema=False)


def test_the_role_of_system_messages():
    items = [{"role": "developer", "content": "A"}, system("B"), user("C")]
    call = {"instructions": "I", "input": items}
    assert [message["role"] for message in body(call)["messages"]] == ["system"] * 3 + ["user"]
    found = body(call, system_role="developer")["messages"]
    assert [message["role"] for message in found] == ["developer"] * 3 + ["user"]


def test_system_messages_in_the_middle():
    items = [system("A"), user("B"), system("C"), {"role": "assistant", "content": "D"}, system("E")]
    assert [message["content"] for message in messages(items)] == ["A", "B", "C", "D", "E"]
    folded = messages(items, inline_system=InlineSystem.FOLD)
    assert folded == [system("A"), user("B\n\nC\n\nE"), {"role": "assistant", "content": "D"}]


def test_system_messages_behind_pictures_and_results():
    folds = {"inline_system": InlineSystem.FOLD}
    with_picture = {"role": "user", "content": [{"type": "input_text", "text": "A"}, PICTURE]}
    (found,) = messages([with_picture, system("B")], **folds)
    assert [part["type"] for part in found["content"]] == ["text", "image_url", "text"]
    *_, result = messages([CALLED, {**RESULT, "output": "R"}, system("B")], **folds)
    assert (result["role"], result["content"]) == ("tool", "R\n\nB")
    assistant = {"role": "assistant", "content": "D"}
    assert messages([assistant, system("E")], **folds) == [assistant, user("E")]


def test_pictures_in_results():
    _, tool, picture = messages([CALLED, RESULT])
    assert (tool["content"], picture["role"]) == ("", "user")
    assert picture["content"][0]["text"] == "The result of call call_1:"
    _, tool = messages([CALLED, RESULT], tool_parts=True)
    assert tool["content"] == [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]


def test_documents():
    items = [{"role": "user", "content": [FILE]}]
    assert messages(items)[0]["content"][0]["file"]["filename"] == "a.pdf"
    with pytest.raises(UnsupportedField, match=r"input\.0\.content\.0"):
        messages(items, documents=False)


def test_short_ids_of_calls():
    assistant, tool = messages([CALLED, {**RESULT, "output": "R"}], short_tool_ids=True)
    assert len(tool["tool_call_id"]) == 9
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"]


def test_reasoning_goes_back():
    reasoning = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    items = [reasoning, CALLED, {**RESULT, "output": "R"}]
    assert "reasoning_content" not in messages(items)[0]
    assert messages(items, reasoning_field="reasoning_content")[0]["reasoning_content"] == "Hm."
