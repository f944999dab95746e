"""Tests the inspections of one answer: their order, time, failures and verdicts."""

from __future__ import annotations

from typing import Any

import pytest
from kit.plugins import BAD, Counts, Masked, Masking, inspections, plugin

from flask_gateway.model.errors import Blocked, PluginFailed, UpstreamCut
from flask_gateway.model.plugin_notes import PluginNotes
from flask_gateway.plugins.inspections import Inspections, OneInspection
from flask_gateway.plugins.loaded import Loaded
from flask_gateway.plugins.loading import load


def masking(
    counts: Counts | None = None, *, on_error: Any = None, budget_ms: Any = None, **options: Any
) -> Loaded:
    table = plugin("Masking", options=options, on_error=on_error, budget_ms=budget_ms)
    return load(table, counts or Counts())


class Clock:
    """Each reading is so much later, seconds."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def opened(one: Loaded, step: float = 0.0) -> OneInspection:
    return OneInspection(one, Masked(one.instance), Clock(step))


def test_the_tail_of_one_goes_through_the_next() -> None:
    both = inspections(masking(bad="zz"), masking(bad="wait"))
    assert both.text("c", "wai") == ""
    with pytest.raises(Blocked):
        both.text("c", "t for it")
    both = inspections(masking(bad="zz"), masking(bad="wait"))
    both.text("c", "wait")
    with pytest.raises(Blocked):
        both.end("c")


def test_a_channel_that_had_no_text_has_no_end() -> None:
    assert inspections().end("c") == ""


@pytest.mark.parametrize("fault", ["raise", "nonsense"])
def test_a_failure_passes_on_what_it_held_back(fault: str) -> None:
    one = opened(masking(on_error="pass", bad="zz"))
    assert one.text("c", "good morn") == "good "
    one._inspection._plugin.fault = fault
    assert one.text("c", "ing") == "morning"
    assert (one.text("c", " all"), one.end("c"), one.verdict) == (" all", "", "failed")


def test_another_channel_gets_its_own_after_a_failure() -> None:
    one = opened(masking(on_error="pass"))
    assert one.text("a", "abc") == one.text("b", "def") == ""
    one._inspection._plugin.fault = "raise"
    one.text("a", "!")
    assert one.end("b") == "def"


def test_an_error_of_a_plugin_about_upstreams_is_its_own_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts()
    one = opened(masking(counts))

    def cut(channel: str, delta: str) -> str:
        raise UpstreamCut("cut", upstream="llama")

    monkeypatch.setattr(one._inspection, "text", cut)
    with pytest.raises(PluginFailed):
        one.text("c", "x")
    assert counts.failed == {("p", "inspect"): 1}


def test_more_than_a_millisecond_is_counted_and_the_relay_is_spared() -> None:
    counts = Counts()
    plugin = masking(counts)
    opened(plugin, 0.0005).text("c", "x")
    assert (counts.slow, plugin.delays) == ({}, False)
    opened(plugin, 0.002).text("c", "x")
    assert (counts.slow, plugin.delays) == ({("p", "inspect"): 1}, False)
    opened(plugin, 0.02).text("c", "x")
    assert plugin.delays


@pytest.mark.parametrize("on_error", ["refuse", "pass"])
def test_over_the_budget_ten_times_in_a_row(on_error: str) -> None:
    one = opened(masking(budget_ms=5, on_error=on_error), 0.006)
    for _ in range(9):
        one.text("c", "x")
    if on_error == "refuse":
        with pytest.raises(PluginFailed):
            one.text("c", "x")
    else:
        one.text("c", "AAAAA")
        assert one.verdict == "masked(1)"


def test_one_that_waits_gets_each_channel_once_and_whole() -> None:
    plugin = masking(whole=True)
    one = opened(plugin)
    assert one.text("c", "AAA") == one.text("c", "AA and") == ""
    assert one.end("c") == "[x] and"
    failing = opened(masking(whole=True, fault="raise", on_error="pass"))
    failing.text("c", "AAAAA")
    assert failing.end("c") == "AAAAA"


def test_the_time_of_an_answer_is_counted_once() -> None:
    counts = Counts()
    plugin = masking(counts)
    notes = PluginNotes((plugin,))
    both = Inspections([opened(plugin)], notes)
    both.text("c", f"x{BAD[:3]}")
    both.end("c")
    assert not counts.ran
    both.settle(None)  # type: ignore[arg-type]  # it does not look at it
    assert counts.ran == {("p", "inspect"): 1}
    assert str(notes) == "p=masked(0)"


def test_a_verdict_is_a_word() -> None:
    class Quiet(Masked):
        verdict = "a,b\n"  # type: ignore[assignment]

    plugin = masking()
    one = OneInspection(plugin, Quiet(Masking()))
    assert one.verdict == "unchanged"
    one.text("c", "AAAAA")
    assert one.verdict == "changed"
