"""``POST /v1/chat/completions`` and the other operations: one handler, streaming or not."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response, g, request

from ..core import Call, Operation
from ..errors import InvalidField, ModelNotAllowed
from ..reply import Reply
from .body import check, parse_fields, read_body, take_fallbacks
from .door import gateway
from .patience import patience, watch_caller

blueprint = Blueprint("chat", __name__)


def answer(operation: Operation) -> Response:
    """Ask the gateway's service, and give back what it says."""
    call = _call(operation)
    g.recorded = True
    unwatch = watch_caller(call, request.environ.get("gunicorn.socket"), gateway().watcher)
    try:
        reply = gateway().service.send(call)
    except BaseException:
        unwatch()
        raise
    reply.on_close(lambda _: unwatch())
    response = _streamed(reply) if call.stream else _whole(reply)
    if reply.upstream:  # a whole answer that is still to come has none yet
        response.headers["x-gateway-upstream"] = reply.upstream
    response.headers.update(reply.headers)
    return response


def _call(operation: Operation) -> Call:
    fields = parse_fields(read_body(request, gateway().settings.max_body_bytes))
    model, stream = check(operation, fields)
    fields, fallbacks = take_fallbacks(fields)
    for name, param in ((model, "model"), *((name, "fallbacks") for name in fallbacks or ())):
        if not g.caller.may_call(name):
            raise ModelNotAllowed(
                f"This key may not call the model '{name}'. GET /v1/models lists those it may.", param=param
            )
    whole = wants_whole(request.headers.get("x-gateway-stream"), default=gateway().candidates.whole(model))
    return Call(
        ids=g.ids,
        caller=g.caller,
        operation=operation,
        model=model,
        fields=fields,
        stream=stream,
        started=g.started,
        deadline=g.started + min(gateway().longest, patience(request.headers.get, stream=stream)),
        fallbacks=fallbacks,
        whole=stream and whole,
    )


def wants_whole(asked: str | None, *, default: bool) -> bool:
    """Whether a stream is to be held back until it is complete.

    :param asked: the header's value. :param default: what the route says.
    :raises InvalidField: it asks for something else.
    """
    if asked is None:
        return default
    if asked not in ("whole", "live"):
        raise InvalidField(
            "The header 'x-gateway-stream' must be 'whole' or 'live'.", param="x-gateway-stream"
        )
    return asked == "whole"


def _whole(reply: Reply) -> Response:
    try:
        body = b"".join(reply)
    finally:
        reply.close()
    return Response(body, reply.status, content_type=reply.transcript.content_type)


def _streamed(reply: Reply) -> Response:
    # Passed through as it is: the server iterates the reply itself, and closes it.
    response = Response(
        reply, reply.status, content_type=reply.transcript.content_type, direct_passthrough=True
    )
    response.headers["Cache-Control"] = "no-cache, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    return response


for _operation in Operation:
    blueprint.add_url_rule(
        f"/v1/{_operation}",
        endpoint=_operation.name.lower(),
        view_func=partial(answer, _operation),
        methods=["POST"],
        provide_automatic_options=False,
    )
