"""Handles Google's Gemini API: ``POST /v1beta/models/NAME:generateContent`` and its kin.

A call goes to upstreams that speak it, as it is: nothing is translated.
"""

from __future__ import annotations

from functools import partial

import msgspec
from flask import Blueprint, Response

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
    "embedContent": Operation.EMBED_CONTENT,
    "batchEmbedContents": Operation.EMBED_CONTENTS,
}
#: The field that each body must have; one for ``countTokens`` may have a whole request instead.
_REQUIRED = {
    Operation.GENERATE: "contents",
    Operation.EMBED_CONTENT: "content",
    Operation.EMBED_CONTENTS: "requests",
}
_STREAM = "streamGenerateContent"
#: Gemini's bodies carry pictures and sound: as large as Anthropic's.
_BODY = 2


def generate(name: str) -> Response:
    """Send the call to the gateway's service and return its reply as a response."""
    state = request_state()
    method = state.request.path.rpartition(":")[2]
    query = _query(state) if method == _STREAM else ""
    return serve(partial(_read_call, _METHODS[method], name, query))


for _path in ("/v1beta/models", "/v1/models"):
    for _method in _METHODS:
        _rule = f"{_path}/<path:name>:{_method}"
        blueprint.add_url_rule(_rule, view_func=generate, methods=["POST"], provide_automatic_options=False)


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
    if (name := _REQUIRED.get(operation)) and name not in fields:
        raise InvalidField(f"The field '{name}' is missing. Add it.", param=name)
    if operation is Operation.EMBED_CONTENTS:
        _check_batch(fields["requests"])
    if "model" in fields:  # the path names it
        fields = {name: value for name, value in fields.items() if name != "model"}
    fields, fallbacks = named_fallbacks(fields, state.header)
    stream = query == "alt=sse"
    return make_call(state, operation, model, fields, fallbacks, stream=stream, query=query)


_decode_batch = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def _check_batch(requests: msgspec.Raw) -> None:
    """:raises InvalidField: it is no list of objects."""
    try:
        _decode_batch(requests)
    except ValueError:
        raise InvalidField("The field 'requests' must be a list of objects.", param="requests") from None
