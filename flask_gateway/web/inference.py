"""Handles ``POST /v1/chat/completions`` and the other operations, streamed or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Response

from ..dialects.table import DIALECTS
from ..guards.body_memory import BodyLease
from ..guards.inflight import MAY_WAIT_SINCE, READ_BODY
from ..model.call import ANTHROPIC, DIRECT, MEDIA, MESSAGES_BODY, Call, Operation, Outcome
from ..model.errors import InvalidField, ModelNotAllowed
from ..model.large_json import taking_turns
from ..model.reply import Reply
from ..model.spend import Spend
from .anthropic_requests import (
    anthropic_headers,
    anthropic_query,
    named_fallbacks,
    quota_headers,
)
from .cache_control import cache_request
from .call_limits import limits_of
from .client_timeouts import TIMEOUT_HEADERS, client_timeout, watch_caller
from .fast_flask import CallResponse
from .litellm_compat import without_proxy_fields
from .request_body import Fields, check, parse_fields, read_body, take_fallbacks
from .request_state import RequestState, request_state
from .request_tags import HEADER, tags_of

blueprint = Blueprint("chat", __name__)

#: The longest body, bytes, of a stream that may wait for a thread of its caller's share.
LONGEST_WAITING = 64 * 1024


def answer(operation: Operation) -> Response:
    """Send the call to the gateway's service and return its reply as a response."""
    return serve(partial(_read_call, operation))


def serve(
    read_call: Callable[[RequestState, BodyLease], Call], also_release: Callable[[], None] | None = None
) -> Response:
    """Send the call that is read from the request to the gateway's service, and return its reply.

    :param read_call: gets the lease of the body, which is released when the call ends.
    :param also_release: called then, too.
    """
    state = request_state()
    gateway = state.gateway
    lease = BodyLease(gateway.body_memory, state.known.id)
    unwatch = _not_watching
    try:
        call = read_call(state, lease)
        state.recorded = True
        unwatch = watch_caller(call, state.request.environ.get("gunicorn.socket"), gateway.reactor)
        reply = gateway.service.send(call)
    except BaseException:
        unwatch()
        lease.release()
        if also_release is not None:
            also_release()
        raise

    def release(outcome: Outcome) -> None:
        unwatch()
        lease.release()
        if also_release is not None:
            also_release()

    reply.on_close(release)
    if call.operation in ANTHROPIC:
        reply.headers.update(quota_headers(reply.headers, time.time()))
    return _streamed(reply) if call.stream else _buffered(reply)


def _not_watching() -> None:
    """Stands for ``unwatch`` until the caller is watched."""


def count_waiting(state: RequestState) -> None:
    """Let the gateway's own worker count this thread while it waits for the body."""
    connection = state.request.environ.get("flask_gateway.connection")
    if connection is not None:
        connection.before_wait = partial(state.gateway.inflight.wait_for_body, state.known.id)


def _read_call(operation: Operation, state: RequestState, lease: BodyLease) -> Call:
    gateway, incoming = state.gateway, state.request
    count_waiting(state)
    anthropic = operation in ANTHROPIC
    largest = gateway.settings.max_body_bytes * (MESSAGES_BODY if anthropic else 1)
    body = read_body(incoming, largest, lease.hold)
    with taking_turns(len(body)):
        fields = parse_fields(body)
        model, stream = check(operation, fields)
        fields, fallbacks = named_fallbacks(fields, state.header) if anthropic else take_fallbacks(fields)
    more: dict[str, Any] = {}
    if gateway.cache is not None:
        more["cache"], fields = cache_request(state.header, fields)
    if gateway.settings.compat and "litellm" in gateway.settings.compat and not anthropic:
        state.model, fields = model, without_proxy_fields(fields)
    if stream and MAY_WAIT_SINCE in incoming.environ and len(body) <= LONGEST_WAITING:
        more["may_wait"] = "HTTP_CONTENT_ENCODING" not in incoming.environ
        incoming.environ[READ_BODY] = body  # to be read again (``server/stream_turns.py``)
    if not anthropic:
        return make_call(state, operation, model, fields, fallbacks, stream=stream, **more)
    more |= {"headers": anthropic_headers(incoming.environ), "query": anthropic_query(incoming.environ)}
    return make_call(state, operation, model, fields, fallbacks, stream=stream, **more)


def make_call(
    state: RequestState,
    operation: Operation,
    model: str,
    fields: Fields,
    fallbacks: tuple[str, ...] | None,
    *,
    stream: bool,
    **more: Any,
) -> Call:
    """The call of a request whose body has been read.

    :param more: further parts of the call that only some have.
    :raises ModelNotAllowed: the caller may not call the model, or a fallback.
    """
    gateway, caller, header, incoming = state.gateway, state.known, state.header, state.request
    for name in (model, *fallbacks) if fallbacks else (model,):
        if not caller.may_call(name):
            raise ModelNotAllowed(
                f"This key may not call the model '{name}'. GET /v1/models lists the models it may call.",
                param="model" if name == model else "fallbacks",
            )
    default = stream and gateway.candidates.whole(model)
    whole = wants_whole(header("x-gateway-stream"), default=default)
    named = gateway.routes.name(model) if caller.owners or gateway.accounting else model
    user, limits = limits_of(caller, named, header, fields, gateway.accounting)
    tags = tags_of(caller, header(HEADER)) if caller.request_tags else caller.tags
    longest = gateway.longest
    if not incoming.environ.keys().isdisjoint(TIMEOUT_HEADERS):
        longest = min(longest, client_timeout(header, stream=stream))
    return Call(
        ids=state.ids,
        caller=caller,
        operation=operation,
        model=model,
        fields=fields,
        stream=stream,
        started=state.started,
        started_ns=state.started_ns,
        deadline=state.started + longest,
        fallbacks=fallbacks,
        whole=stream and whole and operation not in MEDIA,
        user=user,
        limits=limits,
        spend=None if gateway.accounting is None else Spend(tags=tags, model=named),
        **more,
    )


def wants_whole(value: str | None, *, default: bool) -> bool:
    """Whether the gateway holds the stream back until it is complete.

    :param value: of the header ``x-gateway-stream``. :param default: the route's own setting.
    :raises InvalidField: the value is neither ``whole`` nor ``live``.
    """
    if value is None:
        return default
    if value not in ("whole", "live"):
        raise InvalidField(
            "The header 'x-gateway-stream' must be 'whole' or 'live'.", param="x-gateway-stream"
        )
    return value == "whole"


def _buffered(reply: Reply) -> Response:
    try:
        body = b"".join(reply)
    finally:
        reply.close()
    return CallResponse(body, reply.status, reply.transcript.content_type, _headers(reply))


def _streamed(reply: Reply) -> Response:
    unbuffered = (("Cache-Control", "no-cache, no-transform"), ("X-Accel-Buffering", "no"))
    # The server iterates the reply itself, and closes it.
    return CallResponse(reply, reply.status, reply.transcript.content_type, _headers(reply, *unbuffered))


def _headers(reply: Reply, *extra: tuple[str, str]) -> list[tuple[str, str]]:
    headers = [*extra]
    if reply.upstream:  # a buffered stream that is not complete has no upstream yet
        headers.append(("x-gateway-upstream", reply.upstream))
    headers += reply.headers.items()
    return headers


for _operation, _dialect in DIALECTS.items():
    if _operation not in (*MEDIA, *DIRECT):  # ``media.py``, ``stored.py`` and ``raw.py`` have these
        blueprint.add_url_rule(
            f"/v1/{_dialect.path}",
            endpoint=_operation.name.lower(),
            view_func=partial(answer, _operation),
            methods=["POST"],
            provide_automatic_options=False,
        )
