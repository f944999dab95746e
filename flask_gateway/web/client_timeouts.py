"""Reads the timeout that a client announces, and cancels a call when its client hangs up."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable

from ..model.call import Call
from ..model.errors import CallerLeft
from ..reactor import Reactor
from .request_headers import Header, environ_keys

#: Headers in which SDKs announce their own timeout, and how much later the gateway ends the call, seconds.
#: The SDK's timeout fires first, so its users catch the exception they expect. The SDK then hangs up, and
#: the gateway sees that at once. The second header has whole seconds, rounded down.
_SDK_TIMEOUTS = (("x-stainless-read-timeout", 1.0), ("x-stainless-timeout", 2.0), ("request-timeout", 1.0))

#: The headers that :func:`client_timeout` reads.
TIMEOUT_HEADERS = environ_keys("x-request-timeout", *(name for name, _ in _SDK_TIMEOUTS))

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII).fullmatch


def client_timeout(header: Header, *, stream: bool) -> float:
    """How long the client waits for the complete answer, seconds; infinite if it announces no timeout.

    ``x-request-timeout`` is meant for the gateway, so it counts unchanged. SDKs announce their read timeout.
    It bounds the whole of an answer in one piece. In a stream it bounds only each silence, so it is ignored:
    an SDK that times out hangs up, and the gateway sees that.

    :param header: returns a header of the request by its name.
    """
    timeout = _seconds(header("x-request-timeout"))
    if stream:
        return timeout
    for name, grace in _SDK_TIMEOUTS:
        if value := header(name):
            timeout = min(timeout, _seconds(value) + grace)
    return timeout


def _seconds(value: str | None) -> float:
    """The value in seconds; infinite if it is missing, zero or no number."""
    return (float(value) or math.inf) if value and _SECONDS(value) else math.inf


def watch_caller(call: Call, sock: socket.socket | None, reactor: Reactor) -> Callable[[], None]:
    """Cancel the call when its caller hangs up.

    :param sock: the caller's connection; ``None`` if the server does not expose it.
    :return: a function that stops watching. Call it after the answer and before the socket is closed.
    """
    if sock is None:
        return lambda: None
    error = CallerLeft("The caller closed the connection before the answer was complete.")
    return reactor.watch(sock, lambda: call.cancellation.cancel(error)).cancel
