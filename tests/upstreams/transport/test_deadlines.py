"""An exchange without a network: lines, clocks and ends in every order."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.call import Call
from flask_gateway.model.errors import CallerLeft, DeadlineExceeded, GatewayError, UpstreamTimeout, Verdict
from flask_gateway.upstreams.transport.deadlines import GRACE, UpstreamAttempt

LEFT = CallerLeft("gone")


class FakeLine:
    def __init__(self) -> None:
        self.cuts = self.closes = 0

    def cut(self) -> None:
        self.cuts += 1

    def close(self) -> bool:
        self.closes += 1
        return True


class FakeHandle:
    def __init__(self, when: float, ring: Callable[[], None]) -> None:
        self.when = when
        self.ring = ring
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


class FakeTimekeeper:
    """Rings when told to."""

    def __init__(self) -> None:
        self.handles: list[FakeHandle] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def at(self, when: float, ring: Callable[[], None]) -> FakeHandle:
        self.handles.append(FakeHandle(when, ring))
        self.meanwhile()
        return self.handles[-1]


def call(seconds: float | None = None, *, stream: bool = True) -> Call:
    now = time.monotonic()
    made = msgspec.structs.replace(make_call(stream=stream), started=now)
    return made if seconds is None else msgspec.structs.replace(made, deadline=now + seconds)


def make(
    asked: Call | None = None, *, ready: Callable[[], bool] = lambda: False, **clocks: float
) -> UpstreamAttempt:
    return UpstreamAttempt(asked or call(), "one", Timeouts(**clocks), ready)


def error_of(exchange: UpstreamAttempt) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        exchange.check()
    return caught.value


# ---------------------------------------------------------------- lines


def test_the_end_cuts_the_connection_once() -> None:
    exchange, line = make(), FakeLine()
    exchange.hold(line)
    exchange.end(LEFT)
    exchange.end(DeadlineExceeded("late"))
    assert line.cuts == 1
    assert error_of(exchange) is LEFT


def test_a_line_that_comes_too_late_is_cut_at_once() -> None:
    exchange, line = make(), FakeLine()
    exchange.end(LEFT)
    exchange.hold(line)
    assert line.cuts == 1


def test_only_the_latest_line_is_cut_and_none_is_forgotten() -> None:
    exchange, first, second = make(), FakeLine(), FakeLine()
    exchange.hold(first)
    exchange.hold(second)
    exchange.end(LEFT)
    exchange.close()
    exchange.close()
    assert (first.cuts, first.closes) == (0, 1)
    assert (second.cuts, second.closes) == (1, 1)


def test_nothing_happens_after_the_end() -> None:
    asked, line = call(), FakeLine()
    exchange = make(asked)
    exchange.hold(line)
    exchange.close()
    exchange.end(LEFT)
    asked.cancellation.cancel(LEFT)
    assert line.cuts == 0
    assert exchange.error is None


def test_a_call_that_was_called_off_before_is_over_from_the_start() -> None:
    asked = call()
    asked.cancellation.cancel(LEFT)
    assert error_of(make(asked)) is LEFT


# ---------------------------------------------------------------- rings


def test_the_timer_fires_for_the_earliest_timeout_and_then_the_next() -> None:
    timekeeper, ready = FakeTimekeeper(), [False]
    asked = call()
    exchange = make(asked, ready=lambda: ready[0], first_byte=0.0, first_token=20.0, total=600.0)
    exchange.answered()
    exchange.watch(timekeeper)
    (first,) = timekeeper.handles
    assert first.when == pytest.approx(asked.started + 20, abs=0.1)
    ready[0] = True
    first.ring()
    assert exchange.error is None
    assert timekeeper.handles[1].when == pytest.approx(asked.started + 600, abs=0.1)
    exchange.close()
    assert timekeeper.handles[1].cancelled == 1


def test_a_timer_that_fires_in_time_ends_the_attempt() -> None:
    timekeeper, line = FakeTimekeeper(), FakeLine()
    exchange = make(first_byte=0.0)
    exchange.hold(line)
    exchange.watch(timekeeper)
    timekeeper.handles[0].ring()
    assert line.cuts == 1
    error = error_of(exchange)
    assert isinstance(error, UpstreamTimeout)
    assert error.clock == "first_byte"
    assert len(timekeeper.handles) == 1


def test_closing_while_the_timer_is_armed_again_leaves_no_timer() -> None:
    timekeeper = FakeTimekeeper()
    exchange = make()
    exchange.watch(timekeeper)
    timekeeper.meanwhile = exchange.close
    timekeeper.handles[0].ring()
    assert [handle.cancelled for handle in timekeeper.handles] == [1, 1]


# ---------------------------------------------------------------- patience


def test_patience_is_for_the_phase_it_is_in() -> None:
    exchange = make(connect=1.0, first_byte=3.0, first_token=4.0, idle=2.0, total=9.0)
    assert exchange.patience == pytest.approx(1.0, abs=0.1)
    exchange.connected()
    assert exchange.patience == pytest.approx(3.0, abs=0.1)
    exchange.answered()
    assert exchange.patience == pytest.approx(2.0, abs=0.1)
    exchange.connecting()
    assert exchange.patience == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("phase", ["connecting", "connected", "answered"])
def test_nothing_is_waited_for_longer_than_the_call(phase: str) -> None:
    exchange = make(call(0.5), ready=lambda: True)
    getattr(exchange, phase)()
    assert exchange.patience <= 0.5


@pytest.mark.parametrize(("phase", "clock"), [("connecting", "connect"), ("answered", "idle")])
def test_a_wait_that_timed_out_names_its_timeout(phase: str, clock: str) -> None:
    exchange = make(ready=lambda: True, connect=0.25, idle=0.25)
    getattr(exchange, phase)()
    error = exchange.timed_out()
    assert isinstance(error, UpstreamTimeout)
    assert (error.clock, error.verdict) == (clock, Verdict.FAILURE)
    assert "0.25 s" in error.message


@pytest.mark.parametrize("phase", ["connecting", "connected", "answered"])
def test_the_deadline_is_named_before_all_others(phase: str) -> None:
    exchange = make(call(0.0), ready=lambda: True)
    getattr(exchange, phase)()
    error = exchange.timed_out()
    assert isinstance(error, DeadlineExceeded)
    assert (error.clock, error.verdict, error.retry_elsewhere) == ("total", Verdict.IGNORED, False)


# ---------------------------------------------------------------- answers in one piece


def test_an_answer_in_one_piece_has_one_clock_for_head_and_body() -> None:
    """The head of a document usually comes after the generation. Otherwise the silence is in its body."""
    timekeeper = FakeTimekeeper()
    asked = call(stream=False)
    exchange = make(
        asked, ready=lambda: True, connect=1.0, first_byte=2.0, idle=2.0, answer=90.0, total=600.0
    )
    exchange.watch(timekeeper)
    assert timekeeper.handles[0].when == pytest.approx(asked.started + 90, abs=0.5)
    assert exchange.patience == pytest.approx(1.0, abs=0.5)
    for step in (exchange.connected, exchange.answered):
        step()
        assert exchange.patience == pytest.approx(90.0, abs=0.5)
        assert (exchange.silence_before, exchange.silence_within) == (90.0, 90.0)


def test_the_body_of_an_error_is_not_waited_for_as_long_as_an_answer() -> None:
    timekeeper, line = FakeTimekeeper(), FakeLine()
    asked = call(stream=False)
    exchange = make(asked, ready=lambda: True, first_byte=2.0, answer=90.0)
    exchange.hold(line)
    exchange.watch(timekeeper)
    exchange.connected()
    exchange.refused(timekeeper)
    first, second = timekeeper.handles
    assert first.cancelled == 1
    assert second.when == pytest.approx(time.monotonic() + 2, abs=0.5)
    exchange.close()
    assert second.cancelled == 1


@pytest.mark.parametrize(
    ("stream", "phase", "clock", "setting"),
    [
        (True, "connecting", "connect", "connect_seconds"),
        (True, "connected", "first_byte", "GATEWAY_REQUEST_TIMEOUT_SECONDS, or first_byte_seconds"),
        (True, "answered", "idle", "GATEWAY_REQUEST_TIMEOUT_SECONDS, or idle_seconds"),
        (False, "connected", "answer", "GATEWAY_ANSWER_TIMEOUT_SECONDS, or answer_seconds"),
        (False, "answered", "answer", "GATEWAY_ANSWER_TIMEOUT_SECONDS, or answer_seconds"),
    ],
)
def test_a_timeout_names_the_setting_that_raises_it(
    stream: bool, phase: str, clock: str, setting: str
) -> None:
    exchange = make(call(stream=stream), ready=lambda: True, **{clock: 0.0})
    getattr(exchange, phase)()
    assert f"(clock '{clock}'). To allow more, raise {setting}" in exchange.timed_out().message


def test_the_total_timeout_names_who_set_it() -> None:
    said = make(call(0.0), total=20.0).timed_out().message
    assert "The caller set it" in said
    exchange = make(call(20.0), total=0.0)
    assert "raise total_seconds of the upstream" in exchange.timed_out().message


def test_a_reason_that_was_there_before_stays() -> None:
    exchange = make()
    exchange.end(LEFT)
    assert exchange.timed_out() is LEFT


# ---------------------------------------------------------------- the end of a complete answer


def test_a_complete_answer_is_waited_for_no_longer_than_the_grace() -> None:
    exchange, line, timekeeper = make(ready=lambda: True), FakeLine(), FakeTimekeeper()
    exchange.hold(line)
    exchange.watch(timekeeper)
    exchange.answered()
    exchange.completed(False)
    first, last = timekeeper.handles
    assert first.cancelled == 1
    assert time.monotonic() < last.when <= time.monotonic() + GRACE
    exchange._tail_over_at = 0.0
    last.ring()
    assert line.cuts == 1
    exchange.close()


def test_if_more_content_may_follow_the_idle_timeout_applies() -> None:
    exchange, timekeeper = make(ready=lambda: True, idle=30.0), FakeTimekeeper()
    exchange.watch(timekeeper)
    exchange.answered()
    exchange.completed(True)
    assert timekeeper.handles[-1].when > time.monotonic() + 20
    exchange.completed(None)
    assert exchange.patience > 20
    exchange.close()
    assert timekeeper.handles[-1].cancelled == 1


def test_a_clock_that_rings_while_the_answer_completes_is_armed_once() -> None:
    exchange, timekeeper = make(ready=lambda: True), FakeTimekeeper()
    exchange.watch(timekeeper)
    timekeeper.handles[0].ring()  # it looks for what rings next, and arms that
    exchange.completed(False)
    exchange.close()
    assert all(handle.cancelled for handle in timekeeper.handles[1:])
