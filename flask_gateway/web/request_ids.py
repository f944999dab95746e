"""Reads the ids of a request from its headers if they are well formed, and generates the others."""

from __future__ import annotations

import os
import random
import re

from ..model.call import Ids
from .request_headers import Header, environ_keys

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
# W3C Trace Context, section 3.2. A later version may append fields; we drop them.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}").fullmatch
#: An id must be unique, but may be guessable. So we avoid ``os.urandom``, a system call that releases the
#: GIL: getting it back may take a thread long under load.
_random = random.Random(os.urandom(32))  # noqa: S311 - see above
# Without this, the children of a server that forks after this import would all generate the same ids.
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}").fullmatch

#: The headers that :func:`read_ids` reads.
ID_HEADERS = environ_keys("x-request-id", "x-trace-id", "traceparent")


def new_ids() -> Ids:
    """The ids of a request that brings none: a new trace begins."""
    noise = _random.randbytes(40).hex()
    trace = noise[16:48]
    return Ids(noise[48:], trace, f"00-{trace}-{noise[:16]}-00")


def read_ids(header: Header) -> Ids:
    """The ids of a request.

    A valid ``traceparent`` is continued with a new parent id. Otherwise a new trace begins; its id is the
    caller's ``x-trace-id`` if that is a valid W3C trace id.

    :param header: returns a header of the request by its name.
    """
    request = _well_formed(header("x-request-id"))
    trace = _well_formed(header("x-trace-id"))
    parent = _TRACEPARENT(header("traceparent") or "")
    noise = _random.randbytes(40).hex()
    span = noise[:16]
    if parent and _continues(parent):
        trace_id, before, flags, state = parent[2], parent[3], parent[4], header("tracestate") or ""
        state = state if _TRACESTATE(state) else ""
    else:
        trace_id = trace if trace and _TRACE_ID(trace) else noise[16:48]
        before, flags, state = "", "00", ""
    return Ids(
        request=request or noise[48:],
        trace=trace or trace_id,
        traceparent=f"00-{trace_id}-{span}-{flags}",
        tracestate=state,
        parent=before,
    )


def _well_formed(value: str | None) -> str | None:
    return value if value and _ID(value) else None


def _continues(parent: re.Match[str]) -> bool:
    """Whether the trace can be continued: all-zero ids are invalid, and version 00 has no more fields."""
    return parent[2] != "0" * 32 and parent[3] != "0" * 16 and not (parent[1] == "00" and parent[5])
