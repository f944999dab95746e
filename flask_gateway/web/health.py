"""``GET /health``: alive. ``GET /readyz``: alive, and to be given calls. No key, no upstream, no store.

They say only that this process answers, and that it does not mean to end: an upstream that is out is no
reason to take the gateway away from those who call another. The bodies are constant.
"""

from __future__ import annotations

from flask import Blueprint, Response

from .request_state import gateway

blueprint = Blueprint("health", __name__)


# The second path of each is what a proxy of another make answers; who comes from there has it set.
@blueprint.get("/health", provide_automatic_options=False)
@blueprint.get("/health/liveliness", provide_automatic_options=False)
def health() -> Response:
    return Response(b'{"status":"ok"}', content_type="application/json")


# HEAD is how clients see that a server is there: Claude Code asks for the second before it begins.
@blueprint.get("/", provide_automatic_options=False)
@blueprint.route("/api/hello", methods=["HEAD"], provide_automatic_options=False)
def root() -> Response:
    return Response(
        b'{"name":"flask-gateway","api":"/v1","description":"/openapi.json"}', content_type="application/json"
    )


@blueprint.get("/readyz", provide_automatic_options=False)
@blueprint.get("/health/readiness", provide_automatic_options=False)
def ready() -> Response:
    if gateway().draining.is_set():
        return Response(b'{"status":"draining"}', 503, content_type="application/json")
    return Response(b'{"status":"ready"}', content_type="application/json")
