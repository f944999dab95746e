"""How long a caller waits: what it says of it, and that it has stopped waiting."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable

from ..core import Call
from ..errors import CallerLeft
from ..watcher import Watcher
from .headers import Header

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII).fullmatch


def patience(header: Header, *, stream: bool) -> float:
    """How long the caller is going to wait for the whole answer, seconds; infinite if it does not say.

    The SDKs tell of their read timeout. For an answer in one piece that is all the time there is, but
    in a stream it only bounds each silence; an SDK that has had enough of one hangs up, which is seen.

    :param header: gives a header of the request by its name.
    """
    told = _seconds(header("x-request-timeout"))
    return told if stream else min(told, _seconds(header("x-stainless-read-timeout")))


def _seconds(value: str | None) -> float:
    """Infinite unless it is a time to wait."""
    return (float(value) or math.inf) if value and _SECONDS(value) else math.inf


def watch_caller(call: Call, sock: socket.socket | None, watcher: Watcher) -> Callable[[], None]:
    """Have the call called off when the caller hangs up.

    :param sock: the caller's; ``None`` where the server does not give it away.
    :return: what is to be called when its answer is over, and before the socket is closed.
    """
    if sock is None:
        return lambda: None
    left = CallerLeft("The caller closed the connection before the answer was over.")
    return watcher.watch(sock, lambda: call.cancellation.cancel(left)).cancel
