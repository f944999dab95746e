"""``POST /v1/chat/completions`` and the other operations: one handler, streaming or not."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Request, Response, request

from ..guards.body_memory import BodyLease
from ..model.call import Call, Operation, Outcome
from ..model.errors import InvalidField, ModelNotAllowed
from ..model.large_json import taking_turns
from ..model.reply import Reply
from .client_timeouts import patience, watch_caller
from .fast_flask import CallResponse
from .request_body import check, parse_fields, read_body, take_fallbacks
from .request_state import RequestState, request_state

blueprint = Blueprint("chat", __name__)


def answer(operation: Operation) -> Response:
    """Ask the gateway's service, and give back what it says."""
    here = request_state()
    ours = here.gateway
    asked = request._get_current_object()  # type: ignore[attr-defined]  # for it is a proxy
    body = ours.body_memory.lease(here.known.id)
    unwatch = _nothing
    try:
        call = _call(operation, here, asked, body)
        here.recorded = True
        unwatch = watch_caller(call, asked.environ.get("gunicorn.socket"), ours.watcher)
        reply = ours.service.send(call)
    except BaseException:
        unwatch()
        body.release()
        raise

    def over(outcome: Outcome) -> None:
        unwatch()
        body.release()

    reply.on_close(over)
    return _streamed(reply) if call.stream else _whole(reply)


def _nothing() -> None:
    """There is no caller to be watched yet."""


def _call(operation: Operation, here: RequestState, asked: Request, body: BodyLease) -> Call:
    ours, caller = here.gateway, here.known
    sent = read_body(asked, ours.settings.max_body_bytes, body.hold)
    with taking_turns(len(sent)):
        fields = parse_fields(sent)
        model, stream = check(operation, fields)
        fields, fallbacks = take_fallbacks(fields)
    for name, param in ((model, "model"), *((name, "fallbacks") for name in fallbacks or ())):
        if not caller.may_call(name):
            raise ModelNotAllowed(
                f"This key may not call the model '{name}'. GET /v1/models lists those it may.", param=param
            )
    default = stream and ours.candidates.whole(model)
    whole = wants_whole(here.header("x-gateway-stream"), default=default)
    return Call(
        ids=here.ids,
        caller=caller,
        operation=operation,
        model=model,
        fields=fields,
        stream=stream,
        started=here.started,
        deadline=here.started + min(ours.longest, patience(here.header, stream=stream)),
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
    return CallResponse(body, reply.status, reply.transcript.content_type, _headers(reply))


def _streamed(reply: Reply) -> Response:
    told = (("Cache-Control", "no-cache, no-transform"), ("X-Accel-Buffering", "no"))
    # Passed through as it is: the server iterates the reply itself, and closes it.
    return CallResponse(reply, reply.status, reply.transcript.content_type, _headers(reply, *told))


def _headers(reply: Reply, *more: tuple[str, str]) -> list[tuple[str, str]]:
    headers = [*more]
    if reply.upstream:  # a whole answer that is still to come has none yet
        headers.append(("x-gateway-upstream", reply.upstream))
    headers += reply.headers.items()
    return headers


for _operation in Operation:
    blueprint.add_url_rule(
        f"/v1/{_operation}",
        endpoint=_operation.name.lower(),
        view_func=partial(answer, _operation),
        methods=["POST"],
        provide_automatic_options=False,
    )
