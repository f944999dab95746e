"""Opens WebSocket sessions: ``GET /v1/realtime``, and ``GET /v1/responses`` with ``Upgrade``.

A refusal before the upgrade is plain HTTP. A session of the Realtime API names its model in the URL, so its
upstream answers first. One of the Responses API names it in its first event, after the upgrade.
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app
from werkzeug.exceptions import MethodNotAllowed, NotFound

from ..app.build import Gateway
from ..app.sessions import SessionDesk, Sessions
from ..guards.body_memory import BodyLease
from ..model.call import Call, Caller, Ids, Operation
from ..model.errors import InvalidField, ModelNotAllowed, ServerShutdown, WebSocketNotOffered
from ..model.reply import Reply
from ..model.spend import Spend
from .call_limits import limits_of
from .client_timeouts import watch_caller
from .fast_flask import CallResponse
from .request_headers import Header
from .request_ids import new_ids
from .request_state import RequestState, request_state
from .request_tags import HEADER, tags_of

blueprint = Blueprint("websocket", __name__)
#: The headers of the caller that count for each response of a session.
_KEPT = ("x-gateway-user", HEADER)
_BETA = "openai-beta"


@blueprint.get("/v1/realtime", provide_automatic_options=False)
def realtime() -> Response:
    """Open a session of the Realtime API, for the model in the query."""
    state = request_state()
    if _sessions(state.gateway, Operation.REALTIME) is None:
        raise NotFound
    if not _wants_websocket(state.header):
        raise InvalidField("The Realtime API is a WebSocket: send 'Upgrade: websocket'.", param="Upgrade")
    model = state.request.args.get("model")
    if not model:
        raise InvalidField(
            "The URL has to name the model: /v1/realtime?model=NAME. Sessions without one, such as those of "
            "telephone calls, are not offered.",
            param="model",
        )
    return _switch(state, Operation.REALTIME, model)


@blueprint.get("/v1/responses", provide_automatic_options=False)
def responses() -> Response:
    """Open a session of the Responses API over WebSocket."""
    state = request_state()
    if _sessions(state.gateway, Operation.RESPONSE_SESSION) is None or not _wants_websocket(state.header):
        raise MethodNotAllowed(["POST"])
    return _switch(state, Operation.RESPONSE_SESSION, "")


def _sessions(gateway: Gateway, operation: Operation) -> Sessions | None:
    sessions = gateway.sessions
    return sessions if sessions is not None and operation in sessions.operations else None


def _wants_websocket(header: Header) -> bool:
    return (header("Upgrade") or "").lower() == "websocket"


def _switch(state: RequestState, operation: Operation, model: str) -> Response:
    from ..realtime.handshake import PROTOCOL, accept_of  # an extra that is off is not imported
    from ..realtime.session import LiveSession
    from ..realtime.tunnel import Tunnel

    gateway = state.gateway
    accept = accept_of(_key_of(state.header))
    connection = state.request.environ.get("flask_gateway.connection")
    if connection is None or not connection.carries_sessions:
        raise WebSocketNotOffered(
            "This server carries no WebSockets: the gateway's own server does, where callers do not speak "
            "TLS to it. Send the call by POST."
        )
    if gateway.draining.is_set():
        raise ServerShutdown("The server is stopping. Open the session again.")
    desk = SessionDesk(partial(_current, current_app.extensions), SessionCalls(state, operation))
    session, reply = LiveSession(desk, operation, model), None
    state.recorded = True
    if model:
        reply = _opened(state, desk, model)
        session.opened(reply)
    settings = gateway.settings
    lease = BodyLease(gateway.body_memory, state.known.id)
    tunnel = Tunnel(session, reply, settings.max_body_bytes, settings.session_idle_seconds, lease.hold)
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    if PROTOCOL in (state.header("Sec-WebSocket-Protocol") or "").replace(" ", "").split(","):
        headers.append(("Sec-WebSocket-Protocol", PROTOCOL))
    if reply is not None:
        headers += [("x-gateway-upstream", reply.upstream), *reply.headers.items()]
    return SwitchingResponse(tunnel, headers)


def _current(extensions: Mapping[str, Any]) -> Sessions:
    sessions: Sessions | None = extensions["gateway"].sessions
    if sessions is None:  # a reload took them away
        raise WebSocketNotOffered("The gateway does not offer WebSocket any more. Send the call by POST.")
    return sessions


def _key_of(header: Header) -> str:
    """The key of the upgrade request (RFC 6455, 4.2.1)."""
    key = header("Sec-WebSocket-Key") or ""
    with suppress(ValueError):
        if len(b64decode(key, validate=True)) == 16 and header("Sec-WebSocket-Version") == "13":
            return key
    raise InvalidField(
        "The request is no WebSocket upgrade: send a valid Sec-WebSocket-Key, and "
        "'Sec-WebSocket-Version: 13'.",
        param="Sec-WebSocket-Key",
    )


def _opened(state: RequestState, desk: SessionDesk, model: str) -> Reply:
    """Open the session at an upstream. A caller who hangs up meanwhile ends that."""
    call = desk.opening(model)
    unwatch = watch_caller(call, state.request.environ.get("gunicorn.socket"), state.gateway.reactor)
    try:
        return desk.send(call)
    finally:
        unwatch()


class SessionCalls:
    """Makes the calls of one session (``app.sessions.CallMaker``). It keeps little of the request."""

    __slots__ = ("_beta", "_caller", "_extensions", "_ids", "_kept", "_numbers", "_operation")

    def __init__(self, state: RequestState, operation: Operation) -> None:
        self._caller: Caller = state.known
        self._ids: Ids = state.ids
        self._operation = operation
        self._extensions = current_app.extensions
        self._kept = {name: value for name in _KEPT if (value := state.header(name)) is not None}
        beta = state.header(_BETA)
        self._beta = {_BETA: beta} if beta and beta.isascii() and beta.isprintable() else {}
        self._numbers = count(1)

    @property
    def _gateway(self) -> Gateway:
        gateway: Gateway = self._extensions["gateway"]
        return gateway

    def opening(self, model: str) -> Call:
        call = self._call(self._ids, model, {})
        last = call.started + self._gateway.settings.session_seconds
        return msgspec.structs.replace(call, spend=None, headers=self._beta, deadline=last)

    def response(self, model: str, fields: Mapping[str, msgspec.Raw], upstream: str) -> Call:
        ids, new = self._ids, new_ids()
        traceparent = f"{ids.traceparent[:36]}{new.span}{ids.traceparent[52:]}"
        request = f"{ids.request}.{next(self._numbers)}"
        own = Ids(request, ids.trace, traceparent, ids.tracestate, ids.span)
        return msgspec.structs.replace(self._call(own, model, fields), pinned=upstream)

    def _call(self, ids: Ids, model: str, fields: Mapping[str, msgspec.Raw]) -> Call:
        gateway, caller = self._gateway, self._caller
        if not caller.may_call(model):
            raise ModelNotAllowed(
                f"This key may not call the model '{model}'. GET /v1/models lists the models it may call.",
                param="model",
            )
        accounting = gateway.accounting
        named = gateway.routes.name(model) if caller.owners or accounting else model
        user, limits = limits_of(caller, named, self._kept.get, fields, accounting)
        return Call(
            ids=ids,
            caller=caller,
            operation=self._operation,
            model=model,
            fields=fields,
            stream=True,
            started=time.monotonic(),
            started_ns=time.time_ns(),
            user=user,
            limits=limits,
            spend=Spend(tags=tags_of(caller, self._kept.get(HEADER)), model=named) if accounting else None,
        )


class SwitchingResponse(CallResponse):
    """The answer with status 101. The server gets the session itself, and relays it."""

    def __init__(self, tunnel: Any, headers: list[tuple[str, str]]) -> None:
        super().__init__(b"", 101, "", headers)
        self._tunnel = tunnel

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("101 Switching Protocols", self.raw_headers)
        return self._tunnel  # type: ignore[no-any-return]
