"""Serves ``/admin/v1/upstreams/NAME/take-out`` and ``/put-back``, over all workers and machines of the store.

They need no database, so that an upstream can be taken out in an outage. The log has who did it.
"""

from __future__ import annotations

import logging

import msgspec
from flask import Response

from ...auth.key_body import parsed
from ...model.errors import InvalidField, UnknownUpstream
from ..json_response import json_response
from ..request_state import gateway
from .access import blueprint
from .changes import actor, body

log = logging.getLogger(__name__)

#: The longest time, seconds.
LONGEST = 86_400


class TakeOut(msgspec.Struct, forbid_unknown_fields=True):
    """:param seconds: for how long the upstream gets no new call."""

    seconds: int


@blueprint.post("/upstreams/<name>/take-out", provide_automatic_options=False)
def take_out(name: str) -> Response:
    """``{"seconds": 600}``: no new call goes to the upstream for so long. Calls in flight go on."""
    seconds = parsed(body(), TakeOut).seconds
    if not 0 < seconds <= LONGEST:
        raise InvalidField(f"seconds: expected 1 to {LONGEST}", param="seconds")
    return _set(name, seconds)


@blueprint.post("/upstreams/<name>/put-back", provide_automatic_options=False)
def put_back(name: str) -> Response:
    """Let calls go to the upstream again."""
    return _set(name, 0)


def _set(name: str, seconds: int) -> Response:
    breakers = [breaker for breaker in gateway().breakers if breaker.upstream == name]
    if not breakers:
        raise UnknownUpstream(
            f"There is no upstream '{name[:200]}' here. GET /v1/circuit-breakers lists them."
        )
    for breaker in breakers:
        breaker.take_out(seconds)
    what = f"took out for {seconds} s" if seconds else "put back"
    log.warning("flask-gateway: admin %s %s the upstream %r", actor().name, what, name)
    return json_response({"object": "upstream", "name": name, "taken_out": seconds})
