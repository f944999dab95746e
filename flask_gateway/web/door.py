"""What every request passes on its way in and out, whatever it asks for.

In: it gets its ids, and unless what it asks for is public, a caller. So a route that does not exist,
and one that is added tomorrow, are as closed as any other.
Out: its ids, its caller's quota, and a line in the log if no call was made of it.
"""

from __future__ import annotations

import re
import time

from flask import Flask, Response, current_app, g, request

from ..errors import Overloaded
from ..record import Record
from ..wiring import Gateway
from .auth import authenticate, is_loopback, may_read_metrics
from .ids import read_ids

#: The endpoints that need no key.
PUBLIC = frozenset({"health.health", "health.ready"})
METRICS = "metrics.metrics"
#: A request that has waited for longer than this in front of us is not worth beginning, seconds.
MAX_WAIT = 1.0
#: nginx's ``$msec``; others write ``t=`` before it, or leave out the point.
_START = re.compile(r"(?:t=)?([0-9]{10})(?:\.?([0-9]{1,6}))?", re.ASCII).fullmatch


def gateway() -> Gateway:
    """The gateway that serves this request, the same from beginning to end: another may take its place
    meanwhile, and serves the next."""
    found: Gateway = g.gateway
    return found


def waited_in_front(start: str | None, peer: str | None, now: float) -> float:
    """How long a request waited between the proxy that took it and us, seconds; 0 if that is not known.

    :param start: when the proxy took it, seconds since the epoch.
    :param peer: where it comes from. Only a proxy of this machine has our clock.
    :param now: seconds since the epoch.
    """
    told = _START(start) if start else None
    if told is None or not (peer is None or peer == "" or is_loopback(peer)):
        return 0.0
    return max(0.0, now - float(f"{told[1]}.{told[2] or 0}"))


def register(app: Flask) -> None:
    app.before_request(_enter)
    app.after_request(_leave)


def _enter() -> None:
    g.started = time.monotonic()
    g.gateway = current_app.extensions["gateway"]
    g.caller = None
    g.recorded = False
    g.ids = read_ids(request.headers.get)
    if request.method == "POST":
        _shed()
    if request.endpoint not in PUBLIC and not _is_scrape():
        g.caller = authenticate(request.headers.get, gateway().callers)


def _shed() -> None:
    """Refuse what nobody can be expected to wait for, before any work is done on it."""
    waited = waited_in_front(request.headers.get("X-Request-Start"), request.remote_addr, time.time())
    if waited > MAX_WAIT:
        gateway().metrics.shed("waited")
        raise Overloaded(
            f"This request had waited for {waited:.1f} s before it got here: there are too many. "
            "Try again in a moment.",
            retry_after=1.0,
        )


def _is_scrape() -> bool:
    """Whether this asks for the figures, and may."""
    if request.endpoint != METRICS:
        return False
    return may_read_metrics(request.headers.get, request.remote_addr, gateway().settings.metrics_digest)


def _leave(response: Response) -> Response:
    response.headers["x-request-id"] = g.ids.request
    response.headers["x-trace-id"] = g.ids.trace
    if g.caller is not None and "x-ratelimit-limit-requests" not in response.headers:
        response.headers.update(gateway().limiter.headers(g.caller))
    # What is asked every few seconds, and found well, is worth no line.
    if not (g.recorded or request.endpoint in PUBLIC or _was_scraped(response)):
        _record(response)
    return response


def _was_scraped(response: Response) -> bool:
    return request.endpoint == METRICS and response.status_code == 200


def _record(response: Response) -> None:
    """A request of which no call was made: refused at the door, or answered by ourselves."""
    gateway().recorded.tell(
        Record(
            ids=g.ids,
            key=g.caller.id if g.caller else None,
            method=request.method,
            path=request.path[:200],
            route=request.url_rule.rule if request.url_rule else None,
            code=g.get("code"),
            status=response.status_code,
            seconds=time.monotonic() - g.started,
        )
    )
