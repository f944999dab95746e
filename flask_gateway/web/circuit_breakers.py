"""Serves ``/v1/circuit-breakers``: each upstream's breaker, and a POST that allows a probe now.

The list also reports the health of the state store and the number of active streams.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response, request

from ..guards.breaker import BreakerStatus
from ..model.errors import OperatorOnly, UnknownUpstream
from ..state import split_state
from ..telemetry.exposition import live_streams
from ..telemetry.metric_families import trouble
from .auth import may_read_metrics
from .json_response import json_response
from .request_state import gateway, is_multiprocess, request_state

log = logging.getLogger(__name__)

blueprint = Blueprint("breakers", __name__)


@blueprint.get("/v1/circuit-breakers", provide_automatic_options=False)
def list_breakers() -> Response:
    """``GET``: the breakers that the caller may see."""
    statuses = _statuses()
    page = {"object": "list", "data": statuses, "state": _state(), "streams": _streams()}
    shown = {status.upstream for status in statuses}
    options = [option for option in gateway().stream_options if option.upstream in shown]
    if refused := [option.upstream for option in options if option.are_refused]:
        page["stream_options_refused"] = refused
    if reason := trouble():
        page["metrics"] = {"degraded": True, "reason": reason}
    return json_response(page)


@blueprint.post("/v1/circuit-breakers/<path:upstream>/try", provide_automatic_options=False)
def try_upstream(upstream: str) -> Response:
    """``POST``: let the next call probe the upstream. This request itself sends nothing to it."""
    _check_operator()
    breakers = [breaker for breaker in gateway().breakers if breaker.upstream == upstream]
    if not breakers:
        raise UnknownUpstream(
            f"There is no upstream '{upstream[:200]}' here. GET /v1/circuit-breakers lists them."
        )
    for breaker in breakers:
        breaker.try_now()
    log.info("the operator allowed a probe of upstream '%s' now", upstream)
    return json_response({"object": "list", "data": [breaker.status() for breaker in breakers]})


def _check_operator() -> None:
    """Refuse ordinary callers: they could have a broken upstream probed over and over.

    The operator sends ``GATEWAY_METRICS_KEY``, which ``hooks.py`` has checked. If none is set, the operator
    asks from this machine, with a key that may call every model.

    :raises OperatorOnly: the request is not the operator's.
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
    """The status of every breaker; for a key limited to some models, only of the breakers they use."""
    caller, breakers = request_state().known, gateway().breakers
    visible = None if caller.models is None else gateway().candidates.visible(caller.models)
    return [
        breaker.status()
        for breaker in breakers
        if visible is None or (breaker.upstream, breaker.model) in visible
    ]


def _state() -> dict[str, Any]:
    """The kind of the store; ``degraded`` and the reason while a fallback store replaces it."""
    kind = gateway().settings.state.partition(":")[0]
    status = gateway().store.status()
    split = split_state(gateway().settings, is_multiprocess())
    reason = status.reason if status.degraded else split
    return (
        {"store": kind, "degraded": True, "reason": reason} if reason else {"store": kind, "degraded": False}
    )


def _streams() -> dict[str, int]:
    live = live_streams()
    return {"live": gateway().inflight.streams if live is None else live}
