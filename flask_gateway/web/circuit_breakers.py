"""``/v1/circuit-breakers``: which upstreams are asked, which are not, and until when; and to try one now.

Beside them stands how the state fares of which they are a part, and how many streams are under way.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response, request

from ..guards.breaker import BreakerStatus
from ..model.errors import OperatorOnly, UnknownUpstream
from ..state import split_state
from ..state.fallback import FallbackStore
from ..telemetry.exposition import live_streams
from ..telemetry.metric_families import trouble
from .auth import may_read_metrics
from .json_response import json_response
from .request_state import gateway, is_multiprocess, request_state

log = logging.getLogger(__name__)

blueprint = Blueprint("breakers", __name__)


@blueprint.get("/v1/circuit-breakers", provide_automatic_options=False)
def list_breakers() -> Response:
    statuses = _statuses()
    page = {"object": "list", "data": statuses, "state": _state(), "streams": _streams()}
    shown = {status.upstream for status in statuses}
    refused = [one.upstream for one in gateway().stream_options if one.upstream in shown and one.are_refused]
    if refused:
        page["stream_options_refused"] = refused
    if reason := trouble():
        page["metrics"] = {"degraded": True, "reason": reason}
    return json_response(page)


@blueprint.post("/v1/circuit-breakers/<path:upstream>/try", provide_automatic_options=False)
def try_upstream(upstream: str) -> Response:
    """Have the next call of an upstream ask it. This request itself sends nothing there."""
    _check_operator()
    found = [breaker for breaker in gateway().breakers if breaker.upstream == upstream]
    if not found:
        raise UnknownUpstream(f"There is no upstream '{upstream[:200]}' here.")
    for breaker in found:
        breaker.try_now()
    log.info("the operator has upstream '%s' tried now", upstream)
    return json_response({"object": "list", "data": [breaker.status() for breaker in found]})


def _check_operator() -> None:
    """Refuse an ordinary caller: it could have a sick upstream asked over and over.

    The operator comes with ``GATEWAY_METRICS_KEY``, which the door has looked at. Where none is set, it asks
    from this machine, with a key that may call every model.

    :raises OperatorOnly: it is somebody else.
    """
    caller = request_state().caller
    if caller is None:
        return
    if gateway().settings.metrics_digest is not None:
        raise OperatorOnly("This is for the operator: send the key that is set as GATEWAY_METRICS_KEY.")
    if caller.models is not None or not may_read_metrics(request_state().header, request.remote_addr, None):
        raise OperatorOnly(
            "This is for the operator: ask from the gateway's own machine with a key that may call every "
            "model, or set GATEWAY_METRICS_KEY and send that key."
        )


def _statuses() -> list[BreakerStatus]:
    """Those of all upstreams; for a key that may call some models only, of those where these are asked."""
    caller, breakers = request_state().known, gateway().breakers
    seen = None if caller.models is None else gateway().candidates.visible(caller.models)
    return [one.status() for one in breakers if seen is None or (one.upstream, one.model) in seen]


def _state() -> dict[str, Any]:
    """What keeps the state; ``degraded`` while other state answers for it, with the reason."""
    store = gateway().store
    kind = gateway().settings.state.partition(":")[0]
    status = store.status() if isinstance(store, FallbackStore) else None
    split = split_state(gateway().settings, is_multiprocess())
    reason = status.reason if status and status.degraded else split
    return (
        {"store": kind, "degraded": True, "reason": reason} if reason else {"store": kind, "degraded": False}
    )


def _streams() -> dict[str, int]:
    live = live_streams()
    return {"live": gateway().underway.streams if live is None else live}
