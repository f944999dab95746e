"""Tests the queue of traces: what is dropped is counted, and a receiver in trouble gets pauses."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kit.records import call_record, ids

from flask_gateway.config.traces import TraceSettings
from flask_gateway.tracing.exporting import BATCH, FAILURES, PAUSE, Traces
from flask_gateway.tracing.spans import TraceSpan

SETTINGS = TraceSettings(endpoint="http://r.test", sampler="always_on")


class FakeSender:
    """Takes spans, or fails. :ivar faults: what it raises or whether it refuses, for each call."""

    fault = "503"

    def __init__(self) -> None:
        self.sent: list[list[TraceSpan]] = []
        self.refuses = False
        self.raises: Exception | None = None
        self.asked = 0
        self.ended = False

    def send(self, spans: Iterator[TraceSpan]) -> bool:
        self.asked += 1
        if self.raises is not None:
            raise self.raises
        if not self.refuses:
            self.sent.append(list(spans))
        return not self.refuses

    def end(self) -> None:
        self.ended = True


class Setup:
    def __init__(self, waiting: int = 4096, settings: TraceSettings = SETTINGS) -> None:
        self.sender, self.counts, self.now = FakeSender(), Counter[str](), 0.0
        self.traces = Traces(settings, lambda: self.sender, self.count, waiting, lambda: self.now)
        self.traces._thread.start = lambda: None  # type: ignore[method-assign]  # the test makes the turns

    def count(self, result: str, requests: int) -> None:
        self.counts[result] += requests

    def observe(self, records: int, **changes: Any) -> None:
        for _ in range(records):
            self.traces(call_record(**changes))


def test_records_become_spans_in_batches() -> None:
    setup = Setup()
    setup.observe(BATCH + 1)
    setup.traces.turn()
    assert [len(batch) for batch in setup.sender.sent] == [2 * BATCH, 2]  # a request and its attempt
    assert setup.counts == {"exported": BATCH + 1}


def test_a_full_queue_drops_the_oldest_and_counts_them() -> None:
    setup = Setup(waiting=10)
    for number in range(25):
        setup.traces(call_record(seconds=float(number)))
    setup.traces.turn()
    (batch,) = setup.sender.sent
    ended = [span.ended - span.started for span in batch if span.server]
    assert ended == [number * 10**9 for number in range(15, 25)]
    assert setup.counts == {"dropped": 15, "exported": 10}


def test_a_record_that_is_not_sampled_is_counted_and_not_built() -> None:
    setup = Setup(settings=TraceSettings(endpoint="", sampler="always_off"))
    setup.observe(7)
    setup.traces.turn()
    assert setup.counts == {"not_sampled": 7}
    assert setup.sender.asked == 0


@pytest.mark.parametrize("fault", [None, RuntimeError("odd")])
def test_after_three_failures_there_is_a_pause(
    fault: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    setup = Setup()
    setup.sender.refuses, setup.sender.raises = True, fault
    for _ in range(FAILURES + 2):
        setup.observe(1)
        setup.traces.turn()
    assert setup.sender.asked == FAILURES
    assert setup.counts == {"failed": FAILURES}
    (line,) = caplog.messages
    assert ("503" if fault is None else "odd") in line
    setup.now += PAUSE
    setup.observe(1)
    setup.traces.turn()  # once more, and again a pause
    assert setup.sender.asked == FAILURES + 1
    setup.now += PAUSE
    setup.sender.refuses, setup.sender.raises = False, None
    setup.observe(1)
    setup.traces.turn()
    assert setup.counts == {"failed": FAILURES + 3, "exported": 1}
    assert "takes them again" in caplog.messages[-1]
    assert len(caplog.records) == 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_the_thread_sends_and_its_end_sends_the_rest() -> None:
    setup = Setup()
    del setup.traces._thread.start  # type: ignore[attr-defined]
    setup.observe(3)
    setup.traces.stop()
    assert setup.counts == {"exported": 3}
    assert setup.sender.ended
    setup.traces._thread.stop()


def test_an_end_during_a_pause_does_not_try_again() -> None:
    setup = Setup()
    setup.sender.refuses = True
    for _ in range(FAILURES):
        setup.observe(1)
        setup.traces.turn()
    setup.observe(2)
    setup.traces.stop()
    assert setup.sender.asked == FAILURES
    assert setup.counts == {"failed": FAILURES, "dropped": 2}


def test_a_trace_that_begins_here_has_the_samplers_flag() -> None:
    assert Setup().traces.flags(ids().trace) == "01"
    off = TraceSettings(endpoint="", sampler="parentbased_always_off")
    assert Setup(settings=off).traces.flags(ids().trace) == "00"


def test_a_reload_brings_other_settings() -> None:
    setup = Setup(settings=TraceSettings(endpoint="", sampler="always_off"))
    setup.traces.change({}, slow=1.0)
    setup.observe(1, seconds=1.0)
    setup.traces.turn()
    assert setup.counts == {"exported": 1}
