"""Tests the example of a check by a small model, with words in place of the model."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from injection_check import MOST_TEXT, InjectionCheck, prompt_of

from flask_gateway.plugin import Blocked, Operation, Overloaded
from flask_gateway.testing import GuardConformance, call_of

HELLO = [{"role": "user", "content": "Hello"}]


def check(word: str, **more: Any) -> InjectionCheck:
    return InjectionCheck("checker", "key", ask=lambda text, seconds: word, **more)


class TestInjectionCheck(GuardConformance):
    def make(self) -> object:
        return check("SAFE")


@pytest.mark.parametrize("word", ["ATTACK", "attack.", "I say: ATTACK"])
def test_an_attack_is_blocked(word: str) -> None:
    with pytest.raises(Blocked):
        check(word).admit(call_of(messages=HELLO))


def test_a_safe_prompt_is_admitted_and_another_word_is_a_failure() -> None:
    assert check("SAFE").admit(call_of(messages=HELLO))
    with pytest.raises(ValueError, match="neither"):
        check("Perhaps").admit(call_of(messages=HELLO))


def test_the_model_that_is_asked_is_not_checked_by_itself() -> None:
    def never(text: str, seconds: float) -> str:
        raise AssertionError(text)

    plugin = InjectionCheck("m", "key", ask=never)  # the model of call_of
    assert plugin.admit(call_of(messages=HELLO))


def test_only_a_few_calls_are_checked_at_a_time() -> None:
    asked, free = threading.Event(), threading.Event()

    def slow(text: str, seconds: float) -> str:
        asked.set()
        free.wait(20)
        return "SAFE"

    plugin = InjectionCheck("checker", "key", at_once=1, ask=slow)
    thread = threading.Thread(target=plugin.admit, args=(call_of(messages=HELLO),))
    thread.start()
    try:
        assert asked.wait(20)
        with pytest.raises(Overloaded):
            plugin.admit(call_of(messages=HELLO))
    finally:
        free.set()
        thread.join()
    assert plugin.admit(call_of(messages=HELLO)), "the place is free again"


@pytest.mark.parametrize(
    ("operation", "fields", "shown"),
    [
        (Operation.CHAT, {"messages": [{"role": "system", "content": "s"}, *HELLO]}, "Hello"),
        (
            Operation.CHAT,
            {"messages": [*HELLO, {"role": "assistant", "content": "a"}, *HELLO]},
            "Hello\nHello",
        ),
        (Operation.CHAT, {"messages": [{"role": "tool", "content": [{"type": "text", "text": "t"}]}]}, "t"),
        (Operation.RESPONSE, {"input": "Hello"}, "Hello"),
        (
            Operation.RESPONSE,
            {"input": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]},
            "b\na",
        ),
        (Operation.COMPLETION, {"prompt": ["a", "b"]}, "b\na"),
        (Operation.GENERATE, {"contents": [{"parts": [{"text": "Hello"}]}]}, "Hello"),
        (Operation.CHAT, {"messages": [{"role": "user", "content": [{"image_url": {"url": "x"}}]}]}, ""),
        (Operation.CHAT, {}, ""),
    ],
)
def test_the_text_that_is_checked(operation: Operation, fields: dict[str, Any], shown: str) -> None:
    assert prompt_of(call_of(operation, **fields)) == shown


def test_the_text_is_bounded() -> None:
    assert len(prompt_of(call_of(messages=[{"role": "user", "content": "x" * 100_000}]))) == MOST_TEXT
