"""What every request passes on its way in and out, whatever it asks for.

In: it gets its ids, and unless what it asks for is public, a caller. So a route that does not exist,
and one that is added tomorrow, are as closed as any other.
Out: its ids, its caller's quota, and a line in the log if no call was made of it.
"""

from __future__ import annotations

import time

from flask import Flask, Response, current_app, g, request

from ..record import Record
from ..wiring import Gateway
from .auth import authenticate
from .ids import read_ids

#: The endpoints that need no key.
PUBLIC = frozenset({"health.health"})


def gateway() -> Gateway:
    """The gateway of the application that serves this request."""
    found: Gateway = current_app.extensions["gateway"]
    return found


def register(app: Flask) -> None:
    app.before_request(_enter)
    app.after_request(_leave)


def _enter() -> None:
    g.started = time.monotonic()
    g.caller = None
    g.recorded = False
    g.ids = read_ids(request.headers.get)
    if request.endpoint not in PUBLIC:
        g.caller = authenticate(request.headers.get, gateway().callers)


def _leave(response: Response) -> Response:
    response.headers["x-request-id"] = g.ids.request
    response.headers["x-trace-id"] = g.ids.trace
    if g.caller is not None and "x-ratelimit-limit-requests" not in response.headers:
        response.headers.update(gateway().limiter.headers(g.caller))
    if not g.recorded and request.endpoint not in PUBLIC:
        _record(response)
    return response


def _record(response: Response) -> None:
    """A request of which no call was made: refused at the door, or answered by ourselves."""
    gateway().recorded.tell(
        Record(
            ids=g.ids,
            key=g.caller.id if g.caller else None,
            method=request.method,
            path=request.path[:200],
            status=response.status_code,
            seconds=time.monotonic() - g.started,
        )
    )
