"""``GET /health``: alive. No key, no upstream, no store: it says only that this process answers."""

from __future__ import annotations

from flask import Blueprint, Response

blueprint = Blueprint("health", __name__)


@blueprint.get("/health", provide_automatic_options=False)
def health() -> Response:
    return Response(b'{"status":"ok"}', content_type="application/json")
