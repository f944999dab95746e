"""Serves ``GET /metrics`` for Prometheus. ``hooks.py`` decides who may read it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ..guards.breaker_state import Phase
from ..model.errors import UnknownUrl
from ..state import split_state
from ..telemetry.exposition import Snapshot, exposition
from ..telemetry.metric_families import trouble
from .paths import unknown
from .request_state import gateway, is_multiprocess, request_state

blueprint = Blueprint("metrics", __name__)

#: Of Prometheus' text format. Prometheus 3 requires it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@blueprint.get("/metrics", provide_automatic_options=False)
def metrics() -> Response:
    if request_state().caller is not None:
        # An API key does not open the metrics of all callers, so its owner gets a 404.
        raise UnknownUrl(unknown(request.method, request.path))
    return Response(exposition(gateway().metrics.families, _snapshot()), content_type=CONTENT_TYPE)


def _snapshot() -> Snapshot:
    serving, store = gateway(), gateway().store
    statuses = [breaker.status() for breaker in serving.breakers]
    return Snapshot(
        breakers={(status.upstream, status.model or ""): Phase[status.state] for status in statuses},
        degraded=store.status().degraded or bool(split_state(serving.settings, is_multiprocess())),
        configured=serving.built,
        reloaded=serving.metrics.last_reload_successful,
        missing=bool(trouble()),
        cached=serving.cache.parts.entries.stats().used if serving.cache is not None else 0,
    )
