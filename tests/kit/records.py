"""Builds request records for tests of what observes them."""

from __future__ import annotations

from typing import Any

from flask_gateway.model.call import Attempt, Ids, Usage
from flask_gateway.telemetry.request_record import RequestRecord

SECOND = 1_000_000_000
#: When the records began, nanoseconds since the epoch.
BEGAN = 1_700_000_000 * SECOND
TRACE, FIRST = "0af7651916cd43dd8448eb211c80319c", "00000000000000f1"


def ids(*, parent: str = "", flags: str = "00", trace: str = TRACE) -> Ids:
    return Ids("req-1", trace, f"00-{trace}-{FIRST}-{flags}", parent=parent)


def attempt(upstream: str, result: str, at: float, seconds: float, model: str = "m") -> Attempt:
    """:param at: seconds since the request. :param seconds: until the answer was committed."""
    return Attempt(upstream, result, seconds, model, BEGAN + int(at * SECOND))


def call_record(**changes: Any) -> RequestRecord:
    """The record of a good chat call that one upstream answered after a second."""
    usual: dict[str, Any] = {
        "ids": ids(),
        "key": "team-a",
        "method": "POST",
        "path": "/v1/chat/completions",
        "route": "/v1/chat/completions",
        "status": 200,
        "seconds": 2.0,
        "model": "fast",
        "upstream_model": "m",
        "upstream": "one",
        "outcome": "success",
        "usage": Usage(3, 5),
        "started_ns": BEGAN,
        "attempts": (attempt("one", "200", 0.5, 0.5),),
    }
    return RequestRecord(**{**usual, **changes})
