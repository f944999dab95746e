"""Tests that announced client timeouts are read, and that a call is cancelled when its caller hangs up."""

from __future__ import annotations

import math
import socket
import time

import pytest
from kit.calls import make_call

from flask_gateway.model.errors import CallerLeft
from flask_gateway.reactor import Reactor
from flask_gateway.web.client_timeouts import client_timeout, watch_caller

OURS, SDK, NODE, OTHER = (
    *("x-request-timeout", "x-stainless-read-timeout", "x-stainless-timeout", "request-timeout"),
)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "0", "0.0", "-1", "-0", "+1", "1s", "soon", "nan", "inf", "-inf", "1e3", "1_000", "0x10"),
        *("1,2", "1, 1", ".5", "5.", "1..2", "1.2.3", "²", "٣", "1" * 10, "1." + "0" * 10, "None", "1\n"),
    ],
)
@pytest.mark.parametrize("name", [OURS, SDK, NODE, OTHER])
def test_an_invalid_timeout_is_ignored(name: str, value: str) -> None:
    assert client_timeout({name: value}.get, stream=False) == math.inf


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, math.inf),
        ({OURS: "5"}, 5.0),
        ({OURS: "0.25"}, 0.25),
        # An SDK's own timeout fires before the gateway's, because its users catch that exception.
        ({SDK: "600"}, 601.0),
        ({SDK: "20.0"}, 21.0),
        ({OTHER: "20"}, 21.0),
        ({NODE: "1"}, 3.0),  # 1999 ms in whole seconds
        ({SDK: "20", NODE: "5"}, 7.0),
        ({OURS: "5", SDK: "600"}, 5.0),
        ({OURS: "30", SDK: "20"}, 21.0),
        ({OURS: "20", SDK: "20"}, 20.0),
        ({OURS: "soon", SDK: "20"}, 21.0),
        ({OURS: "0", SDK: "20"}, 21.0),
        ({OURS: "999999999"}, 999999999.0),
    ],
)
def test_the_shortest_announced_timeout_counts(headers: dict[str, str], seconds: float) -> None:
    assert client_timeout(headers.get, stream=False) == seconds


def test_an_sdk_timeout_does_not_bound_a_whole_stream() -> None:
    assert client_timeout({SDK: "20", NODE: "20", OTHER: "20"}.get, stream=True) == math.inf
    assert client_timeout({OURS: "5", SDK: "2"}.get, stream=True) == 5.0


# ---------------------------------------------------------------- hang-ups


def test_without_a_socket_nothing_is_watched() -> None:
    reactor = Reactor()
    watch_caller(make_call(), None, reactor)()
    assert len(reactor) == 0


@pytest.mark.parametrize("leaves", [True, False])
def test_the_call_is_cancelled_if_its_caller_hangs_up_before_the_end(leaves: bool) -> None:
    reactor, call = Reactor(), make_call()
    ours, callers = socket.socketpair()
    unwatch = watch_caller(call, ours, reactor)
    if leaves:
        callers.close()
        assert call.cancellation.wait(2)
        assert isinstance(call.cancellation.error, CallerLeft)
        assert (call.cancellation.error.status, call.cancellation.error.code) == (
            499,
            "client_closed_request",
        )
    unwatch()
    unwatch()
    callers.close()
    time.sleep(0.05)
    assert (call.cancellation.error is not None) is leaves
    assert len(reactor) == 0
    ours.close()
    reactor.close()
