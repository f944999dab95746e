"""Tests the mock's pace and its failures."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest
from kit.mock_calls import HELLO, answer, call, events

from flask_gateway.config.schema import Timeouts
from flask_gateway.model.errors import (
    CallerLeft,
    GatewayError,
    UpstreamAuthFailed,
    UpstreamCut,
    UpstreamError,
    UpstreamRefusal,
    UpstreamThrottled,
    UpstreamTimeout,
)
from flask_gateway.upstreams.mock.upstream import MockUpstream, Options, asked_for, read_options

# ---------------------------------------------------------------- pace


def test_latency_comes_before_the_first_byte():
    started = time.monotonic()
    events(url="mock://local?latency_ms=50", messages=HELLO)
    assert time.monotonic() - started >= 0.05


def test_rate_spreads_the_tokens_of_a_stream():
    reply = MockUpstream("mock", "mock://local?tokens=5&rate=100").send(call(stream=True, messages=HELLO))
    times = [time.monotonic() for _ in reply.prime()]
    assert times[-1] - times[0] >= 0.03


def test_rate_delays_a_whole_answer_as_much():
    started = time.monotonic()
    answer(url="mock://local?tokens=5&rate=100", messages=HELLO)
    assert time.monotonic() - started >= 0.05


def asked(text: str, url: str = "mock://local") -> tuple[int | None, float]:
    """The tokens and the rate of a prompt."""
    options = asked_for(call(messages=[{"role": "user", "content": text}]), read_options(url))
    return options.tokens, options.rate


def test_a_prompt_may_choose_the_pace_within_bounds():
    assert asked("mock://local?tokens=20&rate=40") == (20, 40)
    assert asked("mock://local?tokens=999999&rate=0.1&latency_ms=600000") == (100, 10)
    assert asked_for(
        call(messages=[{"role": "user", "content": "mock://local?status=500"}]), Options()
    ) == Options(tokens=100, rate=10)


@pytest.mark.parametrize(
    "text", ["Hello", "What is mock://?", "mock://local", "mock://local?rate=x", "see mock://local?rate=20"]
)
def test_another_prompt_chooses_nothing(text: str):
    assert asked(text) == (None, 0)


def test_the_options_of_the_url_are_not_overridden():
    assert asked("mock://local?tokens=20&rate=40", "mock://local?tokens=5") == (5, 0)


def test_closing_ends_the_wait_of_another_thread():
    reply = MockUpstream("mock", "mock://local?latency_ms=60000").send(call(stream=True, messages=HELLO))
    caught: list[BaseException] = []

    def prime() -> None:
        try:
            reply.prime()
        except GatewayError as error:
            caught.append(error)

    waiting = threading.Thread(target=prime)
    waiting.start()
    reply.close()
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    assert isinstance(caught[0], UpstreamCut)


@pytest.mark.parametrize("query", ["latency_ms=60000", "latency_ms=60000&status=500", "tokens=9&rate=0.01"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_call_that_is_called_off_ends_its_wait(query, stream):
    asked = call(stream=stream, messages=HELLO)
    cancel = threading.Timer(0.05, asked.cancellation.cancel, (CallerLeft("gone"),))
    cancel.start()
    started = time.monotonic()
    with pytest.raises(CallerLeft):
        MockUpstream("mock", f"mock://local?{query}").send(asked).prime()
    assert time.monotonic() - started < 10
    cancel.join()


@pytest.mark.parametrize(
    ("query", "stream", "clock"),
    [
        ("latency_ms=60000", True, "first_byte"),
        ("latency_ms=60000", False, "answer"),
        ("latency_ms=60000&status=500", False, "answer"),
        ("tokens=9&rate=0.01", False, "answer"),
        ("tokens=9&rate=0.01", True, "idle"),
    ],
)
def test_timeouts_end_the_wait(query, stream, clock):
    clocks = Timeouts(first_byte=0.1, idle=0.1, answer=0.1)
    with pytest.raises(UpstreamTimeout, match=f"0.1 s .clock '{clock}'.") as caught:
        MockUpstream("mock", f"mock://local?{query}", clocks).send(
            call(stream=stream, messages=HELLO)
        ).prime()
    assert caught.value.clock == clock


def test_a_slow_stream_is_not_over_before_its_deadline():
    asked = call(stream=True, messages=HELLO)
    asked = msgspec.structs.replace(asked, deadline=asked.started + 0.2)
    reply = MockUpstream("mock", "mock://local?tokens=90&rate=50").send(asked).prime()
    text = b"".join(reply).decode()
    assert 0.2 <= time.monotonic() - asked.started < 1.5
    assert "clock 'total'" in text
    assert "[DONE]" not in text


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("status", "kind", "shown"),
    [
        (400, UpstreamRefusal, 400),
        (401, UpstreamAuthFailed, 502),
        (403, UpstreamAuthFailed, 502),
        (404, UpstreamRefusal, 404),
        (429, UpstreamThrottled, 429),
        (500, UpstreamError, 502),
        (503, UpstreamError, 502),
    ],
)
def test_a_status_fails_every_call_as_an_http_upstream_would(status, kind, shown):
    with pytest.raises(kind) as caught:
        MockUpstream("mock", f"mock://local?status={status}").send(call(messages=HELLO))
    assert caught.value.status == shown
    assert caught.value.upstream == "mock"


def test_a_cut_stream_ends_in_an_error_and_not_in_done():
    reply = MockUpstream("mock", "mock://local?cut_after=2").send(call(stream=True, messages=HELLO)).prime()
    text = b"".join(reply).decode()
    assert text.count('"content":"') == 3  # the empty opening and two tokens
    assert '"error"' in text.split("\n\n")[-2]
    assert "[DONE]" not in text


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_cut_before_it_began_is_no_answer(stream):
    reply = MockUpstream("mock", "mock://local?cut_after=0").send(call(stream=stream, messages=HELLO))
    with pytest.raises(UpstreamCut):
        reply.prime()


def test_a_cut_beyond_the_end_cuts_nothing():
    said, _ = answer(url="mock://local?cut_after=100", messages=HELLO)
    assert said["choices"][0]["finish_reason"] == "stop"
