"""``GET /v1/circuit-breakers``: which upstreams are asked, which are not, and until when.

Beside them stands how the state fares of which they are a part, and how many streams are under way.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ..observers.exposition import live_streams
from ..observers.families import trouble
from ..stores.fallback import FallbackStore
from .json import json_response
from .visit import gateway

blueprint = Blueprint("breakers", __name__)


@blueprint.get("/v1/circuit-breakers", provide_automatic_options=False)
def list_breakers() -> Response:
    data = [breaker.status() for breaker in gateway().breakers]
    page = {"object": "list", "data": data, "state": _state(), "streams": _streams()}
    if reason := trouble():
        page["metrics"] = {"degraded": True, "reason": reason}
    return json_response(page)


def _state() -> dict[str, Any]:
    """What keeps the state; ``degraded`` while other state answers for it, with the reason."""
    store = gateway().store
    kind = gateway().settings.state.partition(":")[0]
    status = store.status() if isinstance(store, FallbackStore) else None
    if status is None or not status.degraded:
        return {"store": kind, "degraded": False}
    return {"store": kind, "degraded": True, "reason": status.reason}


def _streams() -> dict[str, int]:
    live = live_streams()
    return {"live": gateway().underway.streams if live is None else live}
