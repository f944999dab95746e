"""Answers CORS preflights, and adds the headers that let pages of ``cors_origins`` read responses.

The gateway uses no cookies, so no response allows credentials: a page sends its own API key.
"""

from __future__ import annotations

import re

from flask import Response

from ..model.errors import OriginNotAllowed
from .request_headers import Header

#: Headers that a page may read, besides the few that CORS always allows.
EXPOSED = ", ".join(
    (
        *("x-request-id", "x-trace-id", "Retry-After", "retry-after-ms", "x-should-retry"),
        *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        *("x-gateway-upstream", "x-gateway-attempts", "x-gateway-retries", "x-gateway-error-origin"),
    )
)
#: How long a browser may cache the answer to a preflight, seconds. Chromium's own limit is the same.
MAX_AGE = "7200"
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?: *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+)*").fullmatch
_ANY = "*"


def preflight(origins: tuple[str, ...], header: Header) -> Response | None:
    """The response to a preflight; ``None`` if the request is not one. Browsers send no key with it.

    :param origins: the allowed origins; empty while CORS is off.
    :raises OriginNotAllowed: the page's origin is not among them.
    """
    origin, names = header("Origin"), header("Access-Control-Request-Headers") or ""
    if not origins or origin is None or header("Access-Control-Request-Method") is None:
        return None
    if not _is_allowed(origins, origin):
        raise OriginNotAllowed(
            "Pages of this origin may not call the gateway. Its operator allows origins with cors_origins."
        )
    response = Response(status=204)
    del response.headers["Content-Type"]
    response.headers["Access-Control-Allow-Methods"] = "GET, POST"
    # The wildcard "*" does not cover Authorization, so we echo the requested names.
    if _NAMES(names):
        response.headers["Access-Control-Allow-Headers"] = names
    if header("Access-Control-Request-Private-Network") == "true":
        response.headers["Access-Control-Allow-Private-Network"] = "true"
    response.headers["Access-Control-Max-Age"] = MAX_AGE
    return response


def cors_headers(origins: tuple[str, ...], header: Header) -> list[tuple[str, str]]:
    """The CORS headers of a response. Errors carry them, too, so that a page can read why it failed.

    :param origins: the allowed origins.
    """
    if _ANY in origins:
        return [("Access-Control-Allow-Origin", _ANY), ("Access-Control-Expose-Headers", EXPOSED)]
    vary, origin = ("Vary", "Origin"), header("Origin")
    if origin is None or not _is_allowed(origins, origin):
        return [vary]
    return [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", EXPOSED), vary]


def _is_allowed(origins: tuple[str, ...], origin: str) -> bool:
    return _ANY in origins or origin in origins
