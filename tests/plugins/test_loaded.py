"""Tests how a plugin runs: errors, time, the calls that it is for, and its end."""

from __future__ import annotations

import logging

import msgspec
import pytest
from kit.calls import make_call
from kit.plugins import Admitting, Counts, loaded, plugin

from flask_gateway.model.call import Operation
from flask_gateway.model.direct import Direct
from flask_gateway.model.errors import Blocked, Overloaded, PluginFailed
from flask_gateway.plugins.hooks import Hook
from flask_gateway.plugins.loaded import SLOW_IN_A_ROW, Loaded

PLANTED = "a text that somebody said"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def timed(budget_ms: float | None = 20.0) -> tuple[Loaded, Clock, Counts]:
    clock, counts = Clock(), Counts()
    settings = plugin("Admitting", budget_ms=budget_ms)
    made = Loaded(settings, Admitting(), frozenset({Hook.ADMIT}), frozenset(Operation), counts, clock)
    return made, clock, counts


def fail(error: Exception) -> None:
    raise error


def test_an_exception_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()
    one = loaded("Admitting", counts)
    with pytest.raises(PluginFailed) as caught:
        one.run(Hook.ADMIT, fail, ValueError(PLANTED))
    assert PLANTED not in str(caught.value) + caplog.text
    assert "plugin 'p' failed to admit: ValueError at" in caplog.text
    assert "test_loaded.py:" in caplog.text
    assert counts.failed == {("p", "admit"): 1}
    assert counts.ran == {("p", "admit"): 1}


def test_an_error_of_the_gateway_is_the_plugin_s_answer() -> None:
    counts = Counts()
    with pytest.raises(Blocked, match="no"):
        loaded("Admitting", counts).run(Hook.ADMIT, fail, Blocked("no"))
    assert not counts.failed


def test_ten_slow_uses_in_a_row_are_a_failure_until_one_is_quick(caplog: pytest.LogCaptureFixture) -> None:
    one, clock, counts = timed()

    def work(seconds: float) -> str:
        clock.now += seconds
        return "done"

    for _ in range(SLOW_IN_A_ROW - 1):
        assert one.run(Hook.ADMIT, work, 0.021) == "done"
    for _ in range(2):
        with pytest.raises(PluginFailed):
            one.run(Hook.ADMIT, work, 0.021)
    assert one.run(Hook.ADMIT, work, 0.019) == "done"
    assert one.run(Hook.ADMIT, work, 0.021) == "done"
    assert counts.slow == {("p", "admit"): SLOW_IN_A_ROW + 2}
    assert counts.failed == {("p", "admit"): 2}
    slow = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(slow) == 1, "one line a minute"
    assert "took 21.0 ms to admit, over 20 ms" in slow[0].getMessage()


def test_without_a_budget_no_time_is_too_long() -> None:
    one, clock, counts = timed(None)

    def work() -> None:
        clock.now += 100.0

    for _ in range(SLOW_IN_A_ROW + 1):
        one.run(Hook.ADMIT, work)
    assert not counts.slow


def test_the_calls_that_a_plugin_is_for() -> None:
    def named(model: str) -> str:
        return "fast" if model == "alias" else model

    call = make_call("fast")
    assert loaded("Admitting").sees(call, named)
    only = loaded("Admitting", models=frozenset({"fast", "big-*"}), keys=frozenset({"team-*"}))
    assert only.sees(call, named)
    assert only.sees(make_call("alias"), named)
    assert only.sees(make_call("big-one"), named)
    assert not only.sees(make_call("other"), named)
    assert only.sees(msgspec.structs.replace(make_call("other"), fallbacks=("fast",)), named)
    assert not only.sees(
        msgspec.structs.replace(call, caller=msgspec.structs.replace(call.caller, id="x")), named
    )
    direct = Direct(method="GET", path="x", asked="x", route="x")
    assert only.sees(msgspec.structs.replace(make_call("raw"), direct=direct), named)


def test_it_is_closed_once_when_the_last_call_has_ended() -> None:
    one = loaded("Admitting")
    one.enter()
    one.enter()
    one.retire()
    one.leave()
    assert one.instance.closed == 0
    one.leave()
    assert one.instance.closed == 1
    one.retire()
    one.close()
    assert one.instance.closed == 1
    with pytest.raises(Overloaded):
        one.enter()


def test_a_close_that_fails_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loaded("Admitting")
    monkeypatch.setattr(one.instance, "close", lambda: fail(ValueError(PLANTED)))
    one.retire()
    assert "failed to close: ValueError" in caplog.text
    assert PLANTED not in caplog.text
