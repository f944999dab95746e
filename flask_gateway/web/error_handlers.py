"""Renders errors as HTTP responses: the gateway's own, werkzeug's, and unexpected exceptions."""

from __future__ import annotations

import logging
import time

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from ..dialects import anthropic, gemini
from ..dialects.table import envelope_of
from ..model import errors
from ..model.error_headers import error_headers
from ..model.errors import GatewayError
from . import paths
from .anthropic_requests import quota_headers
from .models import wants_google
from .request_headers import header_of
from .request_state import request_state

log = logging.getLogger(__name__)


def render(error: GatewayError) -> Response:
    """The response that reports ``error`` to the caller."""
    request_state().code = error.code  # for the log line of this request
    path, ids, headers = _worded_for(request.path), request_state().ids, error_headers(error)
    body = msgspec.json.encode(envelope_of(path)(error, ids.request))
    status = error.status
    if anthropic.is_path(path):
        status = anthropic.status_of(error)
        body = (error.body if isinstance(error, errors.UpstreamRefusal) else None) or body
        headers = {"request-id": ids.request, **headers, **quota_headers(headers, time.time())}
    elif gemini.is_path(path):
        body = (error.body if isinstance(error, errors.UpstreamRefusal) else None) or body
    response = Response(body, status, content_type="application/json")
    response.headers.update(headers)
    return response


def _worded_for(path: str) -> str:
    """The path by which the error is worded. Clients of both APIs ask for models at the same one."""
    asks_models = path.startswith("/v1/models") and header_of(request.environ)("anthropic-version")
    if path.startswith("/v1/models") and wants_google(header_of(request.environ)):
        return "/v1beta/models"
    return "/v1/messages" if asks_models else path


def register(app: Flask) -> None:
    """Register the handlers with the application."""
    app.register_error_handler(GatewayError, render)
    app.register_error_handler(HTTPException, _render_http)
    app.register_error_handler(Exception, _render_unknown)


def _render_http(error: HTTPException) -> Response:
    if isinstance(error, NotFound | MethodNotAllowed) and _wants_websocket():
        return render(
            errors.WebSocketNotOffered("The gateway does not offer WebSocket. Send the call by POST.")
        )
    if isinstance(error, NotFound):
        if message := paths.not_offered(request.path):
            return render(errors.NotOffered(message))
        return render(errors.UnknownUrl(paths.unknown(request.method, request.path)))
    if isinstance(error, MethodNotAllowed):
        named = gemini.is_method(request.path)  # GET is for the model of that name
        allowed = "POST" if named else ", ".join(sorted(error.valid_methods or ()))
        message = f"{request.method} is not allowed on this path; {allowed} is."
        if not named and ":" in request.path and (foreign := paths.not_offered(request.path)):
            message = f"{message} {foreign}"
        refused = errors.MethodNotAllowed(message)
        refused.headers["Allow"] = allowed
        return render(refused)
    other = errors.CallerError(f"The request was refused: {error.name}. Check its path, headers and framing.")
    other.status = error.code or 400
    return render(other)


def _wants_websocket() -> bool:
    """Whether the request opens a WebSocket. Some proxies remove ``Upgrade`` and leave the other headers."""
    header = request_state().header
    upgrade = header("Upgrade") or ""
    return request.method == "GET" and ("websocket" in upgrade.lower() or bool(header("Sec-WebSocket-Key")))


def _render_unknown(error: Exception) -> Response:
    log.error("unexpected exception in the gateway, answered with 500", exc_info=error)
    return render(
        errors.InternalError(
            "The gateway has failed; your request is not at fault. The gateway's operator finds the cause in "
            "the log, by the x-request-id of this response."
        )
    )
