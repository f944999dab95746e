"""Tests the budget of thinking: its size, and the requests in which Anthropic's API refuses one."""

from __future__ import annotations

from typing import Any

import pytest

from flask_gateway.dialects.translations.thinking_budget import BUDGETS, LEAST, budget_of, may_think

USER = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}


def assistant(*kinds: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": kind} for kind in kinds]}


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "t"}])
def test_a_forced_tool_forbids_thinking(choice: dict[str, Any]) -> None:
    assert not may_think([USER], choice)
    assert may_think([USER], {"type": "auto"})


@pytest.mark.parametrize(
    ("messages", "allowed"),
    [
        ([USER, assistant("tool_use"), RESULT], False),
        ([USER, assistant("text", "tool_use"), RESULT], False),
        ([USER, assistant("thinking", "tool_use"), RESULT, assistant("tool_use"), RESULT], False),
        ([USER, assistant("text")], False),
        ([USER, assistant("thinking", "tool_use"), RESULT], True),
        ([USER, assistant("redacted_thinking", "tool_use"), RESULT], True),
        ([USER, assistant("tool_use"), RESULT, assistant("text"), USER], True),
        ([USER, assistant("text"), USER], True),
        ([], True),
    ],
)
def test_a_turn_of_tools_begins_with_its_thinking(messages: list[dict[str, Any]], allowed: bool) -> None:
    assert may_think(messages, {}) is allowed


def test_a_budget_leaves_room_for_the_answer() -> None:
    assert [budget_of(effort, 32_768) for effort in BUDGETS] == [2048, 2048, 8192, 24_576, 24_576, 24_576]
    assert budget_of("high", 4000) == 3000
    assert budget_of("high", 1366) == LEAST
    assert budget_of("high", 1365) == budget_of("low", 0) == 0
