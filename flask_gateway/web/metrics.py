"""``GET /metrics``: all figures, for Prometheus. Who may read them is decided at the door."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ..guards.breaker_state import Phase
from ..model.errors import UnknownUrl
from ..state import split_state
from ..state.fallback import FallbackStore
from ..telemetry.exposition import Snapshot, exposition
from ..telemetry.metric_families import trouble
from .paths import unknown
from .request_state import gateway, is_multiprocess, request_state

blueprint = Blueprint("metrics", __name__)

#: Of the text format; without it Prometheus 3 refuses to guess.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@blueprint.get("/metrics", provide_automatic_options=False)
def metrics() -> Response:
    if request_state().caller is not None:
        # A key for models is none for everybody's figures, so to its owner there is nothing here.
        raise UnknownUrl(unknown(request.method, request.path))
    return Response(exposition(gateway().metrics.families, _standing()), content_type=CONTENT_TYPE)


def _standing() -> Snapshot:
    found, store = gateway(), gateway().store
    breakers = [breaker.status() for breaker in found.breakers]
    return Snapshot(
        breakers={(one.upstream, one.model or ""): Phase[one.state] for one in breakers},
        degraded=(isinstance(store, FallbackStore) and store.degraded)
        or bool(split_state(found.settings, is_multiprocess())),
        configured=found.built,
        reloaded=found.metrics.last_reload_successful,
        missing=bool(trouble()),
    )
