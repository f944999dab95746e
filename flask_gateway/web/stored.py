"""Handles ``/v1/responses/{id}``: fetches, cancels and deletes stored responses at their upstream.

A key reaches only the responses that it has made through this gateway.
"""

from __future__ import annotations

import re
from functools import partial

from flask import Blueprint, Response, request

from ..guards.body_memory import BodyLease
from ..model.call import Call, Operation
from ..model.direct import Direct
from ..model.errors import InvalidField
from .direct_calls import direct_call
from .inference import serve
from .request_state import RequestState

blueprint = Blueprint("stored", __name__)

#: An id as providers make them, and a query of the API. Nothing in them could change the path.
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}").fullmatch
_QUERY = re.compile(r"[A-Za-z0-9_.~%&=\[\],+-]{0,2048}").fullmatch
_STREAMS = re.compile(r"(?:^|&)stream=(?:true|True|1)(?:&|$)").search


def answer_stored(action: str, response_id: str) -> Response:
    """Send the request to the upstream that holds the response.

    :param action: the end of the path; empty for the response itself.
    """
    return serve(partial(_call, action, response_id))


def _call(action: str, response_id: str, state: RequestState, lease: BodyLease) -> Call:
    """:raises InvalidField: the id or the query has characters that no client sends."""
    query = str(state.request.environ.get("QUERY_STRING", ""))
    if not _ID(response_id):
        message = "The id of a response has letters, digits, - and _ alone. Send it as the answer had it."
        raise InvalidField(message, param="response_id")
    if not _QUERY(query):
        raise InvalidField(
            "The query of the URL is too long, or has odd characters. Encode it.", param="query"
        )
    path = f"responses/{response_id}{action}"
    direct = Direct(
        method=request.method,
        path=f"{path}?{query}" if query else path,
        asked=f"/v1/{path}",
        route=f"/v1/responses/{{id}}{action}",
        state=response_id,
    )
    streams = request.method == "GET" and not action and bool(_STREAMS(query))
    return direct_call(state, Operation.STORED, direct, "responses", stream=streams)


for _action, _methods in (("", ("GET", "DELETE")), ("/cancel", ("POST",)), ("/input_items", ("GET",))):
    blueprint.add_url_rule(
        f"/v1/responses/<response_id>{_action}",
        endpoint=f"stored{_action.replace('/', '_')}",
        view_func=partial(answer_stored, _action),
        methods=list(_methods),
        provide_automatic_options=False,
    )
