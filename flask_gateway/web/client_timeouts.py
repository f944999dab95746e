"""How long a caller waits: what it says of it, and that it has stopped waiting."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable

from ..model.call import Call
from ..model.errors import CallerLeft
from ..reactor import Reactor
from .headers import Header

#: Headers in which SDKs tell of their own timeout, and how much later the gateway ends the call, seconds.
#: So the SDK's timeout fires first and raises what its users catch; then it hangs up, which is seen at once.
#: The second header has whole seconds, rounded down.
_SDK_TIMEOUTS = (("x-stainless-read-timeout", 1.0), ("x-stainless-timeout", 2.0), ("request-timeout", 1.0))

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII).fullmatch


def patience(header: Header, *, stream: bool) -> float:
    """How long the caller is going to wait for the whole answer, seconds; infinite if it does not say.

    ``x-request-timeout`` is for the gateway, and holds as it is. The SDKs tell of their read timeout. For
    an answer in one piece that is all the time there is, but in a stream it only bounds each silence; an SDK
    that has had enough of one hangs up, which is seen.

    :param header: gives a header of the request by its name.
    """
    told = _seconds(header("x-request-timeout"))
    if stream:
        return told
    for name, grace in _SDK_TIMEOUTS:
        if value := header(name):
            told = min(told, _seconds(value) + grace)
    return told


def _seconds(value: str | None) -> float:
    """Infinite unless it is a time to wait."""
    return (float(value) or math.inf) if value and _SECONDS(value) else math.inf


def watch_caller(call: Call, sock: socket.socket | None, watcher: Reactor) -> Callable[[], None]:
    """Have the call called off when the caller hangs up.

    :param sock: the caller's; ``None`` where the server does not give it away.
    :return: what is to be called when its answer is over, and before the socket is closed.
    """
    if sock is None:
        return lambda: None
    left = CallerLeft("The caller closed the connection before the answer was over.")
    return watcher.watch(sock, lambda: call.cancellation.cancel(left)).cancel
