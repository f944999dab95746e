"""``GET /v1/circuit-breakers``: which upstreams are asked, which are not, and until when."""

from __future__ import annotations

from flask import Blueprint, Response

from .door import gateway
from .json import json_response

blueprint = Blueprint("breakers", __name__)


@blueprint.get("/v1/circuit-breakers", provide_automatic_options=False)
def list_breakers() -> Response:
    return json_response({"object": "list", "data": [breaker.status() for breaker in gateway().breakers]})
