"""Handles Google's Gemini API: ``POST /v1beta/models/NAME:generateContent`` and its kin.

A call goes to upstreams that speak it, as it is: nothing is translated.
"""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response
from werkzeug.exceptions import MethodNotAllowed, NotFound

from ..guards.body_memory import BodyLease
from ..model.call import Call, Operation
from ..model.errors import InvalidField
from ..model.large_json import taking_turns
from .anthropic_requests import named_fallbacks
from .inference import count_waiting, make_call, serve
from .request_body import parse_fields, read_body
from .request_state import RequestState, request_state

blueprint = Blueprint("gemini", __name__)

#: The methods behind the model's name, with the operation and the query of each. A stream without
#: ``alt=sse`` is a list in one piece.
_METHODS = {
    "generateContent": Operation.GENERATE,
    "streamGenerateContent": Operation.GENERATE,
    "countTokens": Operation.GENERATE_COUNT,
}
_STREAM = "streamGenerateContent"
#: Gemini's bodies carry pictures and sound: as large as Anthropic's.
_BODY = 2


@blueprint.post("/v1beta/models/<path:model>", provide_automatic_options=False)
@blueprint.post("/v1/models/<path:model>", provide_automatic_options=False)
def generate(model: str) -> Response:
    """Send the call to the gateway's service and return its reply as a response."""
    name, _, method = model.rpartition(":")
    operation = _METHODS.get(method)
    if ":" not in model:
        raise MethodNotAllowed(["GET"])
    if operation is None or not name:
        raise NotFound
    query = _query(request_state()) if method == _STREAM else ""
    return serve(partial(_read_call, operation, name, query))


def _query(state: RequestState) -> str:
    """The query of a stream for the upstream."""
    alt = state.request.args.get("alt", "json")
    if alt not in ("sse", "json"):
        raise InvalidField("The query 'alt' must be 'sse', or 'json' for a list in one piece.", param="alt")
    return f"alt={alt}"


def _read_call(operation: Operation, model: str, query: str, state: RequestState, lease: BodyLease) -> Call:
    count_waiting(state)
    body = read_body(state.request, state.gateway.settings.max_body_bytes * _BODY, lease.hold)
    with taking_turns(len(body)):
        fields = parse_fields(body)
    if operation is Operation.GENERATE and "contents" not in fields:
        raise InvalidField("The field 'contents' is missing. Add it.", param="contents")
    fields, fallbacks = named_fallbacks(fields, state.header)
    stream = query == "alt=sse"
    return make_call(state, operation, model, fields, fallbacks, stream=stream, query=query)
