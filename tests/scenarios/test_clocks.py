"""Tests the timeouts of an upstream attempt: which one fires, when, its error, and whose fault it is."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from kit.exchanges import OVERSHOOT, PUNCTUAL, Bench, call, unreachable
from kit.servers import Upstream

from flask_gateway.model.call import Call
from flask_gateway.model.errors import (
    DeadlineExceeded,
    GatewayError,
    UpstreamError,
    UpstreamTimeout,
    Verdict,
)
from flask_gateway.upstreams.http_upstream import HttpUpstream

pytestmark = pytest.mark.live


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def ended(upstream: HttpUpstream, asked: Call) -> tuple[GatewayError, float]:
    """The error of the call before its reply is committed, and the seconds it took."""
    began = time.monotonic()
    with pytest.raises(GatewayError) as caught:
        upstream.send(asked).prime()
    return caught.value, time.monotonic() - began


@pytest.mark.parametrize(
    ("behaviour", "clock", "stream"),
    [
        ("never", "first_byte", True),
        ("head-drip", "first_byte", True),
        ("head-drip,pause=0.07", "first_byte", True),
        ("head-only", "idle", True),
        ("stall,after=-1", "idle", True),
        ("never", "answer", False),
        ("head-drip", "answer", False),
        ("head-drip,pause=0.07", "answer", False),
        ("head-only", "answer", False),
        ("stall,after=-1", "answer", False),
        ("murmur", "answer", False),
    ],
)
def test_a_silence_ends_at_its_timeout(bench: Bench, upstream: Upstream, behaviour, clock, stream):
    one = bench.upstream(upstream.url, **{"first_byte": 2, "idle": 2, "answer": 2, clock: 0.1})
    error, seconds = ended(one, call(behaviour, stream=stream))
    assert isinstance(error, UpstreamTimeout)
    assert (error.clock, error.code, error.status) == (clock, "upstream_timeout", 504)
    assert (error.verdict, error.retry_elsewhere, error.upstream) == (Verdict.FAILURE, True, "one")
    assert f"0.1 s (clock '{clock}')" in error.message
    assert 0.1 <= seconds < 0.1 + OVERSHOOT


def test_signs_of_life_are_not_a_first_token(bench: Bench, upstream: Upstream):
    one = bench.upstream(upstream.url, first_token=0.1, first_byte=0.09, idle=0.09)
    error, seconds = ended(one, call("murmur", stream=True))
    assert isinstance(error, UpstreamTimeout)
    assert (error.clock, error.verdict, error.retry_elsewhere) == ("first_token", Verdict.FAILURE, True)
    assert 0.1 <= seconds < 0.1 + OVERSHOOT


def test_a_buffered_answer_has_no_stream_timeouts(bench: Bench, upstream: Upstream):
    one = bench.upstream(upstream.url, first_token=0.1, first_byte=0.1, idle=0.1)
    assert b"tok2" in b"".join(one.send(call("ok,first=0.3")).prime())


def test_the_first_token_timeout_stops_after_the_first_token(bench: Bench, upstream: Upstream):
    """The timer fires while no thread reads, and finds that a token has arrived."""
    one = bench.upstream(upstream.url, first_token=0.1, first_byte=0.1)
    reply = one.send(call("ok,tokens=5,pause=0.04", stream=True)).prime()
    time.sleep(0.15)
    assert b"".join(reply).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_the_total_timeout_of_an_upstream(bench: Bench, upstream: Upstream, stream):
    """The upstream never pauses and never ends."""
    one = bench.upstream(upstream.url, total=0.1)
    error, seconds = ended(one, call("murmur", stream=stream))
    assert isinstance(error, UpstreamTimeout)
    assert not isinstance(error, DeadlineExceeded)
    assert (error.clock, error.verdict, error.retry_elsewhere) == ("total", Verdict.FAILURE, True)
    assert "0.1 s (clock 'total')" in error.message
    assert 0.1 <= seconds < 0.1 + OVERSHOOT


EVERYWHERE = ["never", "head-drip", "murmur", "drip,pause=0.05"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("behaviour", EVERYWHERE)
def test_the_callers_deadline_holds_in_every_phase(bench: Bench, upstream: Upstream, behaviour, stream):
    error, seconds = ended(bench.upstream(upstream.url), call(behaviour, seconds=0.1, stream=stream))
    assert isinstance(error, DeadlineExceeded)
    assert (error.clock, error.code, error.status) == ("total", "upstream_timeout", 504)
    assert (error.verdict, error.retry_elsewhere) == (Verdict.IGNORED, False)
    assert "0.1 s" in error.message
    assert 0.09 <= seconds < 0.1 + OVERSHOOT


@pytest.mark.parametrize("stream", [False, True])
def test_timeouts_are_punctual(bench: Bench, upstream: Upstream, stream):
    """The median is punctual even on a busy machine."""
    one = bench.upstream(upstream.url)
    late = sorted(ended(one, call("never", seconds=0.1, stream=stream))[1] - 0.1 for _ in range(9))
    assert late[4] < PUNCTUAL, late


def test_the_deadline_ends_a_stream_in_the_middle(bench: Bench, upstream: Upstream):
    reply = (
        bench.upstream(upstream.url).send(call("ok,tokens=500,pause=0.01", seconds=0.4, stream=True)).prime()
    )
    began = time.monotonic()
    said = b"".join(reply).decode()
    assert time.monotonic() - began < 0.4 + OVERSHOOT
    last = json.loads(said.strip().rpartition("data: ")[2])
    assert last["error"]["code"] == "upstream_timeout"
    assert "clock 'total'" in last["error"]["message"]


def test_a_silence_in_the_middle_names_its_timeout(bench: Bench, upstream: Upstream):
    one = bench.upstream(upstream.url, idle=0.1)
    began = time.monotonic()
    said = b"".join(one.send(call("stall,after=2", stream=True)).prime()).decode()
    error = json.loads(said.strip().rpartition("data: ")[2])["error"]["message"]
    assert 0.1 <= time.monotonic() - began < 0.1 + OVERSHOOT
    assert "0.1 s (clock 'idle')" in error


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_the_silence_is_measured_in_every_framing(bench: Bench, upstream: Upstream, framing):
    one = bench.upstream(upstream.url, first_byte=3, idle=0.1)
    error, seconds = ended(one, call(f"stall,after=-1,framing={framing}", stream=True))
    assert getattr(error, "clock", None) == "idle"
    assert seconds < 0.1 + OVERSHOOT


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_body_that_drips_is_still_that_error(bench: Bench, upstream: Upstream, stream):
    error, seconds = ended(bench.upstream(upstream.url, first_byte=0.1), call("error-drip", stream=stream))
    assert isinstance(error, UpstreamError)
    assert error.answered == 503
    assert seconds < 0.1 + OVERSHOOT


# ---------------------------------------------------------------- connecting


def test_a_refused_connection_is_an_error(bench: Bench):
    with unreachable() as url:
        error, seconds = ended(bench.upstream(url, connect=0.1), call("ok"))
    assert isinstance(error, UpstreamTimeout)
    assert (error.clock, error.verdict) == ("connect", Verdict.FAILURE)
    assert "0.1 s (clock 'connect')" in error.message
    assert 0.1 <= seconds < 0.1 + OVERSHOOT


def test_many_addresses_share_one_connect_timeout(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    with unreachable() as url:
        port = int(url.rpartition(":")[2])
        one = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [one] * 4)
        error, seconds = ended(bench.upstream("http://many.test", connect=0.1), call("ok"))
    assert getattr(error, "clock", None) == "connect"
    assert seconds < 0.1 + OVERSHOOT


def test_the_first_address_that_answers_is_taken(bench: Bench, upstream: Upstream, monkeypatch):
    addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (1, upstream.port)
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    assert b"tok0" in b"".join(bench.upstream("http://many.test").send(call("ok")).prime())


def test_a_stalled_tls_handshake_is_a_failed_connection(bench: Bench):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        error, seconds = ended(bench.upstream(url, connect=0.1), call("ok"))
    assert getattr(error, "clock", None) == "connect"
    assert seconds < 0.1 + OVERSHOOT


@pytest.mark.parametrize("clock", ["first_byte", "answer", "total"])
def test_other_timeouts_bound_connecting_too(bench: Bench, clock):
    with unreachable() as url:
        asked = call("ok", stream=clock == "first_byte")
        error, seconds = ended(bench.upstream(url, **{clock: 0.1}), asked)
    assert getattr(error, "clock", None) == clock
    assert seconds < 0.1 + OVERSHOOT


def test_an_upstream_that_does_not_read_the_request_times_out(bench: Bench):
    """The request is larger than the kernels' socket buffers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        asked = call("ok", filler="x" * 16_000_000)
        error, seconds = ended(bench.upstream(url, connect=0.03, answer=0.1), asked)
    assert getattr(error, "clock", None) == "answer"
    assert 0.1 <= seconds < 0.1 + 2 * OVERSHOOT


def test_no_connection_is_made_after_the_deadline(bench: Bench, upstream: Upstream):
    error, seconds = ended(bench.upstream(upstream.url), call("ok", seconds=-1))
    assert isinstance(error, DeadlineExceeded)
    assert seconds < OVERSHOOT
    assert upstream.requests() == []
