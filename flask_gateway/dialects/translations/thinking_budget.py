"""Chooses a budget of thinking from an effort, for models of Anthropic that take no effort.

https://docs.claude.com/en/docs/build-with-claude/extended-thinking says which requests may have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HIGH = 24_576
#: The budget by effort, tokens.
BUDGETS = {"minimal": 2_048, "low": 2_048, "medium": 8_192, "high": _HIGH, "xhigh": _HIGH, "max": _HIGH}
#: The least that the API takes, tokens.
LEAST = 1_024

_THOUGHT = ("thinking", "redacted_thinking")


def budget_of(effort: str, limit: int) -> int:
    """The budget, tokens: at most three quarters of the answer's limit, of which it is a part.

    :param effort: a name in ``BUDGETS``. :param limit: ``max_tokens``.
    :returns: 0 if the limit leaves less than the API takes.
    """
    budget = min(BUDGETS[effort], limit * 3 // 4)
    return budget if budget >= LEAST else 0


def may_think(messages: Sequence[Mapping[str, Any]], choice: Mapping[str, Any]) -> bool:
    """Whether the API takes a budget with this request.

    It refuses one with a forced tool, with an answer that the caller has begun, and with results of calls
    whose message does not begin with its thinking.

    :param messages: in the words of Anthropic's API. :param choice: its ``tool_choice``.
    """
    if choice.get("type") in ("any", "tool"):
        return False
    last = next((message for message in reversed(messages) if message["role"] == "assistant"), None)
    if last is None:
        return True
    kinds = [block["type"] for block in last["content"]]
    return last is not messages[-1] and ("tool_use" not in kinds or kinds[0] in _THOUGHT)
