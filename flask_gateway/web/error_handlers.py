"""The one place where errors become HTTP: ours, werkzeug's, and those nobody thought of."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from ..model import errors
from ..model.errors import GatewayError
from . import paths
from .request_state import request_state

log = logging.getLogger(__name__)

#: The openai SDK gives up instead of waiting when it is told to wait for longer, seconds.
LONGEST_WAIT = 120.0


def render(error: GatewayError) -> Response:
    """The response that tells a caller of ``error``."""
    request_state().code = error.code  # for the record
    body = error.envelope()
    if paths.ANTHROPIC(request.path):
        body = _for_anthropic(body, error)
    response = Response(msgspec.json.encode(body), error.status, content_type="application/json")
    response.headers.update(error.headers)
    response.headers["x-gateway-error-origin"] = error.origin
    if error.upstream is not None:
        response.headers["x-gateway-upstream"] = error.upstream
    if error.retry_after is not None:
        wait = min(error.retry_after, error.max_retry_after, LONGEST_WAIT)
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
        response.headers["retry-after-ms"] = str(max(1, math.ceil(wait * 1000)))
    return response


#: The types of Anthropic's errors by status. Its clients know no others.
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _for_anthropic(body: dict[str, Any], error: GatewayError) -> dict[str, Any]:
    """The envelope of Anthropic's API, in which clients of OpenAI find what they look for, too."""
    other = "invalid_request_error" if error.status < 500 else "api_error"
    said = {**body["error"], "type": _ANTHROPIC_TYPES.get(error.status, other)}
    return {"type": "error", "error": said, "request_id": request_state().ids.request}


def register(app: Flask) -> None:
    app.register_error_handler(GatewayError, render)
    app.register_error_handler(HTTPException, _render_http)
    app.register_error_handler(Exception, _render_unknown)


def _render_http(error: HTTPException) -> Response:
    if isinstance(error, NotFound | MethodNotAllowed):
        if _wants_websocket():
            return render(errors.WebSocketNotOffered("WebSocket is not spoken here. Send the call by POST."))
        if message := paths.not_offered(request.path):
            return render(errors.NotOffered(message))
    if isinstance(error, NotFound):
        return render(errors.UnknownUrl(paths.unknown(request.method, request.path)))
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        refused = errors.MethodNotAllowed(f"{request.method} is not possible here; {allowed} is.")
        refused.headers["Allow"] = allowed
        return render(refused)
    ours = errors.CallerError(f"The request was refused: {error.name}.")
    ours.status = error.code or 400
    return render(ours)


def _wants_websocket() -> bool:
    """Some proxies take ``Upgrade`` away and leave the rest of what a WebSocket begins with."""
    header = request_state().header
    upgrade = header("Upgrade") or ""
    return request.method == "GET" and ("websocket" in upgrade.lower() or bool(header("Sec-WebSocket-Key")))


def _render_unknown(error: Exception) -> Response:
    log.error("a fault of the gateway, answered with 500", exc_info=error)
    return render(
        errors.InternalError(
            "The gateway failed. It is not your request's fault; its operator finds the cause in the log, "
            "by the x-request-id of this answer."
        )
    )
