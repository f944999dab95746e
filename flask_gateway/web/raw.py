"""Handles ``/v1/raw/{upstream}/{path}``: paths of an upstream that its settings open, passed as they are.

Off by default. A request goes through the same door as a call: key, limits, breaker, record. Its usage is not
read, so a budget needs a price for each request: the model of such requests is ``UPSTREAM/raw``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, Request, Response

from ..guards.body_memory import BodyLease
from ..model.call import Call, Operation
from ..model.direct import Direct
from ..model.errors import InvalidField, ModelNotAllowed, UnknownUrl, UnsupportedMediaType
from ..model.raw_path import RawPath, matching
from .direct_calls import direct_call
from .inference import count_waiting, serve
from .request_state import RequestState, request_state
from .upload import StoredBody, on_disk, store_body

blueprint = Blueprint("raw", __name__)

#: The model of a raw request for prices and keys: ``UPSTREAM/raw``.
MODEL = "raw"
_QUERY = re.compile(r"[\x21-\x7e]{0,2048}").fullmatch
#: Headers of the caller that the upstream gets.
_PASSED = {"CONTENT_TYPE": "content-type", "HTTP_OPENAI_BETA": "openai-beta"}
_MAX_HEADER = 1024


@blueprint.route(
    "/v1/raw/<upstream>/<path:path>",
    methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
    provide_automatic_options=False,
)
def answer_raw(upstream: str, path: str) -> Response:
    """Send the request to the upstream, if its settings allow the path."""
    state = request_state()
    pattern = _allowed(state, upstream, path)
    count_waiting(state)
    body, release = on_disk(state, store_body)
    return serve(partial(_call, upstream, path, pattern, body), release)


def _allowed(state: RequestState, upstream: str, path: str) -> RawPath:
    """The pattern that allows the request.

    :raises UnknownUrl: none does. :raises ModelNotAllowed: the key may not.
    """
    environ, method = state.request.environ, state.request.method
    paths = next((one.raw for one in state.gateway.settings.upstreams if one.name == upstream), ())
    found = matching(paths, method, path)
    if found is None or not _is_literal(environ, upstream, path):
        raise UnknownUrl(
            f"There is nothing at {method} /v1/raw/{upstream[:64]}/{path[:200]}. "
            "The operator lists such paths in 'raw' of the upstream."
        )
    name = f"{upstream}/{MODEL}"
    if not state.known.may_call(name):
        raise ModelNotAllowed(
            f"This key may not ask for raw paths: it may not call '{name}'. Ask the operator to add that "
            "name to 'models' of the key.",
            param="model",
        )
    if "HTTP_CONTENT_ENCODING" in environ:
        raise UnsupportedMediaType("Send the body of a raw path without Content-Encoding.")
    return found


def _is_literal(environ: Mapping[str, Any], upstream: str, path: str) -> bool:
    """Whether the request's target has the path as it was decoded. The upstream must read the same one."""
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ.get("PATH_INFO")
    return str(target).partition("?")[0].endswith(f"/raw/{upstream}/{path}")


def _call(
    upstream: str, path: str, pattern: RawPath, body: StoredBody, state: RequestState, lease: BodyLease
) -> Call:
    """:raises InvalidField: the query is too long, or has odd characters."""
    query = str(state.request.environ.get("QUERY_STRING", ""))
    if not _QUERY(query):
        raise InvalidField(
            "The query of the URL is too long, or has odd characters. Encode it.", param="query"
        )
    direct = Direct(
        method=pattern.method,
        path=f"{path}?{query}" if query else path,
        asked=f"/v1/raw/{upstream}/{path}"[:200],
        route=f"/v1/raw/{upstream}/{pattern.path}",
        body=body,
        headers=_passed(state.request),
    )
    return direct_call(state, Operation.RAW, direct, MODEL, stream=True, upstream=upstream)


def _passed(request: Request) -> dict[str, str]:
    """:raises InvalidField: a header is too long, or does not print."""
    found = {name: str(request.environ[key]) for key, name in _PASSED.items() if request.environ.get(key)}
    for name, value in found.items():
        if len(value) > _MAX_HEADER or not (value.isascii() and value.isprintable()):
            raise InvalidField(f"The header '{name}' is too long or does not print. Shorten it.", param=name)
    return found
