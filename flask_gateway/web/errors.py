"""The one place where errors become HTTP: ours, werkzeug's, and those nobody thought of."""

from __future__ import annotations

import logging
import math

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from .. import errors
from ..errors import GatewayError
from .visit import visit

log = logging.getLogger(__name__)

#: The openai SDK gives up instead of waiting when it is told to wait for longer, seconds.
LONGEST_WAIT = 120.0


def render(error: GatewayError) -> Response:
    """The response that tells a caller of ``error``."""
    visit().code = error.code  # for the record
    response = Response(msgspec.json.encode(error.envelope()), error.status, content_type="application/json")
    response.headers.update(error.headers)
    response.headers["x-gateway-error-origin"] = error.origin
    if error.upstream is not None:
        response.headers["x-gateway-upstream"] = error.upstream
    if error.retry_after is not None:
        wait = min(error.retry_after, error.max_retry_after, LONGEST_WAIT)
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
        response.headers["retry-after-ms"] = str(max(1, math.ceil(wait * 1000)))
    return response


def register(app: Flask) -> None:
    app.register_error_handler(GatewayError, render)
    app.register_error_handler(HTTPException, _render_http)
    app.register_error_handler(Exception, _render_unknown)


def _render_http(error: HTTPException) -> Response:
    if isinstance(error, NotFound):
        return render(errors.UnknownUrl(f"There is nothing at {request.method} {request.path[:200]}."))
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        refused = errors.MethodNotAllowed(f"{request.method} is not possible here; {allowed} is.")
        refused.headers["Allow"] = allowed
        return render(refused)
    ours = errors.CallerError(f"The request was refused: {error.name}.")
    ours.status = error.code or 400
    return render(ours)


def _render_unknown(error: Exception) -> Response:
    log.error("a fault of the gateway, answered with 500", exc_info=error)
    return render(
        errors.InternalError(
            "The gateway failed. It is not your request's fault; its operator finds the cause in the log, "
            "by the x-request-id of this answer."
        )
    )
