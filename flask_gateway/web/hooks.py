"""Registers the hooks that run before and after every request.

Before: the hook sets the request's ids and, unless the route is public, authenticates the caller. So unknown
routes and routes added later require a key, too.
After: the hook adds the ids and the caller's quota, and logs the request if it did not become a call.
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
from ..model.errors import RETRY_SOON, Overloaded, TooManyFailedKeys, Unauthorized
from ..telemetry.request_record import RequestRecord
from .auth import authenticate, may_read_metrics
from .client_address import address_of, is_from_here, is_loopback, sharing_of
from .cors import cors_headers, preflight
from .fast_flask import CallResponse
from .litellm_compat import litellm_headers
from .paths import is_exactly
from .request_headers import Header, header_of
from .request_ids import ID_HEADERS, new_ids, read_ids
from .request_state import Globals, RequestState, current_context, gateway, request_state

#: Endpoints that need no key.
PUBLIC = frozenset({"health.health", "health.ready", "openapi.openapi"})
ROOT = "health.root"
METRICS = "metrics.metrics"
#: Only the operator may use this one: with the metrics key where one is set (``circuit_breakers.py``).
TRY = "breakers.try_upstream"
#: The endpoints of admins, which ``admin/access.py`` protects, and those of their page (``page/access.py``).
ADMIN, PAGE = "gateway_admin.", "gateway_page."
_OF_ADMINS = (ADMIN, PAGE)
#: The gateway refuses a request that waited for longer than this between the proxy and us, seconds.
MAX_WAIT = 1.0
#: When this process began to serve, seconds since the epoch.
BEGAN = time.time()
#: nginx's ``$msec``; other proxies write ``t=`` before it, or leave out the point.
_START = re.compile(r"(?:t=)?([0-9]{10})(?:\.?([0-9]{1,6}))?", re.ASCII).fullmatch


def waited_in_front(start: str | None, peer: str | None, now: float, began: float = 0.0) -> float:
    """How long a request waited between the proxy and us, seconds; 0 if that is not known.

    Time before this process began to serve is not counted: a restart is not an overload.

    :param start: when the proxy accepted it, seconds since the epoch.
    :param peer: the address it comes from. Only a proxy on this machine has our clock.
    :param now: seconds since the epoch. :param began: when this process began to serve, same unit.
    """
    match = _START(start) if start else None
    if match is None or (peer and not is_loopback(peer)):
        return 0.0
    return max(0.0, now - max(began, float(f"{match[1]}.{match[2] or 0}")))


def register(app: Flask) -> None:
    """Register both hooks with the application."""
    app.app_ctx_globals_class = Globals
    app.before_request(_before_request)
    app.after_request(_after_request)


def _before_request() -> Response | None:
    context = current_context()
    state: RequestState = context.g._state
    state.request = incoming = request._get_current_object()  # type: ignore[attr-defined]
    environ, endpoint = incoming.environ, incoming.endpoint
    state.started = started = time.monotonic()
    state.started_ns = time.time_ns()
    state.gateway = gateway = context.app.extensions["gateway"]
    state.header = header = header_of(environ)
    state.ids = new_ids() if environ.keys().isdisjoint(ID_HEADERS) else read_ids(header)
    if gateway.traces is not None and not state.ids.parent:
        state.ids = state.ids.begun_with(gateway.traces.flags)
    method, origins = environ["REQUEST_METHOD"], gateway.settings.cors_origins
    if method == "POST":
        if "HTTP_X_REQUEST_START" in environ:
            _shed_late(header("X-Request-Start"), environ.get("REMOTE_ADDR"))
    elif method == "OPTIONS" and (answer := preflight(origins, header)):
        return answer
    if endpoint not in PUBLIC and not _needs_no_key(endpoint):
        identify = partial(_identify, gateway.key_guesses, environ, header, started)
        try:
            state.caller = authenticate(
                header, identify, environ.get("QUERY_STRING", ""), environ["PATH_INFO"]
            )
        except (Unauthorized, TooManyFailedKeys) as error:
            error.headers["x-gateway-address"] = sharing_of(environ)  # for `doctor`
            raise
    return None


def _identify(
    limiter: KeyGuessLimiter, environ: Mapping[str, Any], header: Header, now: float, key: str
) -> Caller:
    caller = limiter.identify(key, partial(address_of, environ), now, header)
    if key == DEV_KEY and not is_from_here(environ):
        raise Unauthorized(
            f"The key '{DEV_KEY}' is public, so it is accepted from the gateway's own machine only. "
            "The operator sets other keys with GATEWAY_API_KEYS."
        )
    return caller


def _shed_late(start: str | None, peer: str | None) -> None:
    """Refuse a request that waited too long in front of us, before any work is done for it."""
    waited = waited_in_front(start, peer, time.time(), BEGAN)
    if waited > MAX_WAIT:
        gateway().metrics.shed("waited")
        raise Overloaded(
            f"This request waited for {waited:.1f} s before it reached the gateway, which is overloaded. "
            "Try again in a moment.",
            retry_after=RETRY_SOON,
        )


def _needs_no_key(endpoint: str | None) -> bool:
    """Whether this is a HEAD on the root, an allowed scrape of the metrics, an admin's path, or carries the
    operator's key.

    A wrong key is then counted by the usual authentication.
    """
    if endpoint == ROOT:
        return request.method == "HEAD"
    scrape = endpoint == METRICS and is_exactly("/metrics", request.environ)
    if not scrape and endpoint != TRY:
        return _admitted_admin(endpoint)
    digest = gateway().settings.metrics_digest
    # Without a metrics key, the operator uses a caller's key (``circuit_breakers.py``).
    return (scrape or digest is not None) and may_read_metrics(
        request_state().header, request.remote_addr, digest
    )


def _admitted_admin(endpoint: str | None) -> bool:
    """Whether the path is an admin's. Its sender is then an admin, or the request is refused."""
    if endpoint is None or not endpoint.startswith(_OF_ADMINS):
        return False
    admit = current_app.extensions.get(endpoint[: endpoint.index(".") + 1])
    if admit is None:  # no admin's key is set, and these are another's paths
        return False
    admit()
    return True


def _after_request(response: Response) -> Response:
    state, headers = request_state(), response.headers
    added = [("x-request-id", state.ids.request), ("x-trace-id", state.ids.trace)]
    origins = state.gateway.settings.cors_origins
    if origins and not (request.endpoint or "").startswith(_OF_ADMINS):
        added += cors_headers(origins, state.header)
    if isinstance(response, CallResponse):  # the service records calls; their guards add the quota
        if "litellm" in state.gateway.settings.compat:
            added += litellm_headers(state, response.raw_headers)
        response.raw_headers += added
        return response
    if "litellm" in state.gateway.settings.compat:
        added += litellm_headers(state, headers)
    headers.extend(added)
    if state.caller is not None and "x-ratelimit-limit-requests" not in headers:
        headers.extend(state.gateway.limiter.headers(state.caller))
    # Successful probes come every few seconds and would fill the log.
    if not (state.recorded or request.endpoint in PUBLIC or _is_routine(response)):
        _record(response)
    return response


def _is_routine(response: Response) -> bool:
    """Whether this answers a preflight, a HEAD on the root or a scrape of the metrics, or shows a page."""
    if request.method == "OPTIONS":
        return response.status_code == 204
    if request.method == "GET" and (request.endpoint or "").startswith(PAGE):
        return response.status_code < 400
    return request.endpoint in (METRICS, ROOT) and response.status_code == 200


def _record(response: Response) -> None:
    """Record a request that did not become a call: it was refused, or the gateway itself answered it."""
    state = request_state()
    state.gateway.service.tell(
        RequestRecord(
            ids=state.ids,
            key=state.caller.id if state.caller else None,
            method=request.method,
            path=request.path[:200],
            route=request.url_rule.rule if request.url_rule else None,
            code=state.code,
            status=response.status_code,
            seconds=time.monotonic() - state.started,
            started_ns=state.started_ns,
        )
    )
