"""Serves ``GET /health`` (liveness) and ``GET /readyz`` (readiness), without key or upstream.

Liveness says that this process answers; readiness, that it is not shutting down and that its ledger has all
that journals had at the start. Neither checks upstreams: if one is down, callers of the others still need the
gateway. The bodies are constant.
"""

from __future__ import annotations

from flask import Blueprint, Response

from .request_state import gateway

blueprint = Blueprint("health", __name__)


# The second path of each is LiteLLM's. Deployments that migrate from there have it configured.
@blueprint.get("/health", provide_automatic_options=False)
@blueprint.get("/health/liveliness", provide_automatic_options=False)
def health() -> Response:
    return Response(b'{"status":"ok"}', content_type="application/json")


# Clients send HEAD to see if a server is there. Claude Code does so for /api/hello when it starts.
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
    accounting = gateway().accounting
    if accounting is not None and not accounting.is_ready:
        return Response(b'{"status":"starting"}', 503, content_type="application/json")
    return Response(b'{"status":"ready"}', content_type="application/json")
