"""Tests what ``mock://`` upstreams answer, operation by operation."""

from __future__ import annotations

import json

import pytest
from kit.mock_calls import HELLO, answer, events

from flask_gateway.model.call import OPENAI, Operation, Usage

TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]


# ---------------------------------------------------------------- chat


def test_chat_repeats_the_last_user_message():
    said, usage = answer(messages=[{"role": "system", "content": "Be brief."}, *HELLO])
    assert said["object"] == "chat.completion"
    assert said["id"].startswith("chatcmpl-")
    assert said["model"] == "mock-1"
    choice = said["choices"][0]
    assert choice["message"]["content"] == 'Mock answer from mock: you said "Hello there"'
    assert choice["finish_reason"] == "stop"
    assert said["usage"] == {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13}
    assert (usage.prompt_tokens, usage.completion_tokens) == (5, 8)


def test_a_long_prompt_is_not_repeated_in_full():
    said, _ = answer(messages=[{"role": "user", "content": "x" * 5000}])
    assert said["choices"][0]["message"]["content"].count("x") == 200


def test_content_parts_are_read():
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "http://x"}}]
    said, _ = answer(messages=[{"role": "user", "content": parts}])
    assert said["choices"][0]["message"]["content"].endswith('"Look"')


def test_tokens_sets_the_length_and_the_text_is_always_the_same():
    first, usage = answer(url="mock://local?tokens=20", messages=HELLO)
    second, _ = answer(url="mock://local?tokens=20", messages=HELLO)
    text = first["choices"][0]["message"]["content"]
    assert len(text.split()) == usage.completion_tokens == 20
    assert text == second["choices"][0]["message"]["content"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_cuts_the_answer_and_says_so(name):
    said, usage = answer(messages=HELLO, **{name: 2})
    assert said["choices"][0]["message"]["content"] == "Mock answer"
    assert said["choices"][0]["finish_reason"] == "length"
    assert usage.completion_tokens == 2


def test_a_stream_gives_the_same_text_token_by_token():
    chunks, usage = events(messages=HELLO)
    assert chunks.pop() == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == 'Mock answer from mock: you said "Hello there"'
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "stop"]
    assert not any("usage" in chunk for chunk in chunks), "nobody asked for it but we"
    assert usage == Usage(3, 8)


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for():
    chunks, usage = events(messages=HELLO, stream_options={"include_usage": True})
    *others, last, done = chunks
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 11
    assert all(chunk["usage"] is None for chunk in others)
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 8)


# ---------------------------------------------------------------- tool calls


def test_offered_tools_are_called():
    said, _ = answer(messages=HELLO, tools=TOOLS)
    choice = said["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (tool,) = choice["message"]["tool_calls"]
    assert tool["function"] == {"name": "look_up", "arguments": "{}"}


def test_a_tool_call_is_streamed_in_deltas():
    chunks, _ = events(messages=HELLO, tools=TOOLS)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0]["tool_calls"][0]["function"] == {"name": "look_up", "arguments": ""}
    assert deltas[0]["tool_calls"][0]["id"].startswith("call_")
    assert deltas[1] == {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HELLO, "tools": TOOLS, "tool_choice": "none"},
        {"messages": [*HELLO, {"role": "tool", "content": "42", "tool_call_id": "c"}], "tools": TOOLS},
        {"messages": HELLO, "tools": []},
        {"messages": HELLO, "tools": [{"type": "function"}, 7, {"function": {"name": 3}}]},
    ],
)
def test_no_tool_is_called_when_there_is_none_to_call(body):
    said, _ = answer(**body)
    assert said["choices"][0]["finish_reason"] == "stop"


# ---------------------------------------------------------------- the other operations


def test_completions():
    said, usage = answer(Operation.COMPLETION, prompt="Once upon")
    assert said["object"] == "text_completion"
    assert said["choices"][0]["text"] == 'Mock answer from mock: you said "Once upon"'
    assert usage.prompt_tokens == 3
    chunks, _ = events(Operation.COMPLETION, prompt=["Once upon"])
    assert chunks.pop() == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == said["choices"][0]["text"]


WRONG = [None, True, 7, -1.5, 10**30, "text", [], {}, [None], [[[]]], [{"role": "user"}], {"a": {"b": []}}]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("operation", OPENAI)
def test_no_field_of_a_wrong_type_breaks_it(operation, wrong):
    names = [
        *("messages", "prompt", "input", "tools", "tool_choice", "max_tokens", "stream_options"),
        *("dimensions", "encoding_format", "query", "documents", "top_n"),
    ]
    answer(operation, **dict.fromkeys(names, wrong))


@pytest.mark.parametrize("operation", OPENAI)
def test_deep_nesting_does_not_break_it(operation):
    deep = json.loads("[" * 900 + "]" * 900)
    answer(operation, messages=deep, prompt=deep, input=deep, documents=deep, tools=deep)
