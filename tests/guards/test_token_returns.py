"""Tests tokens that calls did not use: each goes back once, with the next call or without."""

from __future__ import annotations

import threading

import pytest
from kit.waiting import until

from flask_gateway.guards import token_returns
from flask_gateway.guards.token_returns import Returns, TokenReturns
from flask_gateway.reactor.while_any import WhileAny


class Given:
    """Notes what was given back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tokens: dict[str, int] = {}

    def __call__(self, key: str, returns: Returns) -> None:
        with self.lock:
            self.tokens[key] = self.tokens.get(key, 0) + sum(tokens for _, tokens in returns)


def test_the_next_call_takes_them_and_nobody_else_gives_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WhileAny, "start", lambda self: None)
    given = Given()
    returns = TokenReturns(given)
    returns.keep("a", 1, 5)
    returns.keep("a", 2, 6)
    returns.keep("b", 1, 7)
    assert returns.take("a") == ((1, 5), (2, 6))
    assert returns.take("a") == ()
    assert returns.flush()
    assert not returns.flush()
    assert given.tokens == {"b": 7}


def test_without_a_next_call_a_thread_gives_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_returns, "KEPT", 0.001)
    given = Given()
    returns = TokenReturns(given)
    for stamp in range(100):
        returns.keep("a", stamp, 1)
    until(lambda: given.tokens == {"a": 100})


def test_where_no_thread_can_start_they_go_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    given = Given()
    TokenReturns(given).keep("a", 1, 5)
    assert given.tokens == {"a": 5}
