"""What every request passes on its way in and out, whatever it asks for.

In: it gets its ids, and unless what it asks for is public, a caller. So a route that does not exist,
and one that is added tomorrow, are as closed as any other.
Out: its ids, its caller's quota, and a line in the log if no call was made of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Flask, Response, current_app, request

from ..auth.lockout import KeyGuessLimiter
from ..config.secrets import DEV_KEY
from ..model.call import Caller
from ..model.errors import Overloaded, TooManyFailedKeys, Unauthorized
from ..telemetry.request_record import RequestRecord
from .auth import authenticate, may_read_metrics
from .client_address import address_of, is_from_here, is_loopback, sharing_of
from .cors import cors_headers, preflight
from .fast_flask import CallResponse
from .headers import header_of
from .paths import is_exactly
from .request_ids import read_ids
from .request_state import Globals, gateway, request_state

#: The endpoints that need no key.
PUBLIC = frozenset({"health.health", "health.ready", "openapi.openapi"})
ROOT = "health.root"
METRICS = "metrics.metrics"
#: What only the operator may ask for, by the key of the figures where there is one (``circuit_breakers.py``).
TRY = "breakers.try_upstream"
#: A request that has waited for longer than this in front of us is not worth beginning, seconds.
MAX_WAIT = 1.0
#: When this process began to serve, seconds since the epoch.
BEGAN = time.time()
#: nginx's ``$msec``; others write ``t=`` before it, or leave out the point.
_START = re.compile(r"(?:t=)?([0-9]{10})(?:\.?([0-9]{1,6}))?", re.ASCII).fullmatch


def waited_in_front(start: str | None, peer: str | None, now: float, began: float = 0.0) -> float:
    """How long a request waited between the proxy that took it and us, seconds; 0 if that is not known.

    What it waited for while we were not there yet, at a restart, is not counted: that tells of no crowd.

    :param start: when the proxy took it, seconds since the epoch.
    :param peer: where it comes from. Only a proxy of this machine has our clock.
    :param now: seconds since the epoch. :param began: when this process began to serve, likewise.
    """
    told = _START(start) if start else None
    if told is None or (peer and not is_loopback(peer)):
        return 0.0
    return max(0.0, now - max(began, float(f"{told[1]}.{told[2] or 0}")))


def register(app: Flask) -> None:
    app.app_ctx_globals_class = Globals
    app.before_request(_enter)
    app.after_request(_leave)


def _enter() -> Response | None:
    # The things themselves: each look through a proxy for them costs as much as what is done here.
    here, asked = request_state(), request._get_current_object()  # type: ignore[attr-defined]
    environ, endpoint = asked.environ, asked.endpoint
    here.started = started = time.monotonic()
    here.gateway = ours = current_app.extensions["gateway"]
    here.header = header = header_of(environ)
    here.ids = read_ids(header)
    if environ["REQUEST_METHOD"] == "POST":
        _shed(header("X-Request-Start"), environ.get("REMOTE_ADDR"))
    elif environ["REQUEST_METHOD"] == "OPTIONS" and (answer := preflight(ours.settings.cors_origins, header)):
        return answer
    if endpoint not in PUBLIC and not _needs_no_key(endpoint):
        identify = partial(_identify, ours.strikes, environ, started)
        try:
            here.caller = authenticate(header, identify, environ.get("QUERY_STRING", ""))
        except (Unauthorized, TooManyFailedKeys) as error:
            error.headers["x-gateway-address"] = sharing_of(environ)  # for `doctor`
            raise
    return None


def _identify(strikes: KeyGuessLimiter, environ: Mapping[str, Any], now: float, key: str) -> Caller:
    caller = strikes.identify(key, partial(address_of, environ), now)
    if key == DEV_KEY and not is_from_here(environ):
        raise Unauthorized(
            f"Everybody knows '{DEV_KEY}', so it is taken from the gateway's own machine only. "
            "The operator sets other keys with GATEWAY_API_KEYS."
        )
    return caller


def _shed(start: str | None, peer: str | None) -> None:
    """Refuse what nobody can be expected to wait for, before any work is done on it."""
    waited = waited_in_front(start, peer, time.time(), BEGAN) if start else 0.0
    if waited > MAX_WAIT:
        gateway().metrics.shed("waited")
        raise Overloaded(
            f"This request had waited for {waited:.1f} s before it got here: there are too many. "
            "Try again in a moment.",
            retry_after=1.0,
        )


def _needs_no_key(endpoint: str | None) -> bool:
    """Whether this only looks if somebody is there, or asks for the figures and may, or comes with the
    operator's own key. A wrong key is counted as any other."""
    if endpoint == ROOT:
        return request.method == "HEAD"
    figures = endpoint == METRICS and is_exactly("/metrics", request.environ)
    if not figures and endpoint != TRY:
        return False
    digest = gateway().settings.metrics_digest
    # Without such a key, an operator shows a caller's (``circuit_breakers.py``).
    return (figures or digest is not None) and may_read_metrics(
        request_state().header, request.remote_addr, digest
    )


def _leave(response: Response) -> Response:
    here, headers = request_state(), response.headers
    ids = [("x-request-id", here.ids.request), ("x-trace-id", here.ids.trace)]
    if origins := here.gateway.settings.cors_origins:
        ids += cors_headers(origins, here.header)
    if isinstance(response, CallResponse):  # of a call, which is recorded by itself and has its quota told
        response.told += ids
        return response
    headers.extend(ids)
    if here.caller is not None and "x-ratelimit-limit-requests" not in headers:
        headers.extend(here.gateway.limiter.headers(here.caller))
    # What is asked every few seconds, and found well, is worth no line.
    if not (here.recorded or request.endpoint in PUBLIC or _is_routine(response)):
        _record(response)
    return response


def _is_routine(response: Response) -> bool:
    """A preflight, a look if somebody is there, or figures that were given."""
    if request.method == "OPTIONS":
        return response.status_code == 204
    return request.endpoint in (METRICS, ROOT) and response.status_code == 200


def _record(response: Response) -> None:
    """A request of which no call was made: refused at the door, or answered by ourselves."""
    here = request_state()
    here.gateway.recorded.tell(
        RequestRecord(
            ids=here.ids,
            key=here.caller.id if here.caller else None,
            method=request.method,
            path=request.path[:200],
            route=request.url_rule.rule if request.url_rule else None,
            code=here.code,
            status=response.status_code,
            seconds=time.monotonic() - here.started,
        )
    )
