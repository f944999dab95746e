"""CORS: answers browsers that ask whether pages of another origin may call (``cors_origins``).

No cookies are involved, so no answer allows credentials: a page sends a key of its own.
"""

from __future__ import annotations

import re

from flask import Response

from ..model.errors import OriginNotAllowed
from .headers import Header

#: What a page may read of an answer besides its body, its status and the few headers that need no leave.
EXPOSED = ", ".join(
    (
        *("x-request-id", "x-trace-id", "Retry-After", "retry-after-ms", "x-should-retry"),
        *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        *("x-gateway-upstream", "x-gateway-attempts", "x-gateway-retries", "x-gateway-error-origin"),
    )
)
#: How long a browser may keep the answer to a preflight, seconds. Chromium caps it there.
MAX_AGE = "7200"
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?: *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+)*").fullmatch
_ANY = "*"


def preflight(origins: tuple[str, ...], header: Header) -> Response | None:
    """The answer to a preflight; ``None`` if the request is none. It carries no key, so it needs none.

    :param origins: those that may call; none while CORS is off.
    :raises OriginNotAllowed: this one may not.
    """
    origin, asked = header("Origin"), header("Access-Control-Request-Headers") or ""
    if not origins or origin is None or header("Access-Control-Request-Method") is None:
        return None
    if not _is_allowed(origins, origin):
        raise OriginNotAllowed(
            "Pages of this origin may not call the gateway. Its operator allows origins with cors_origins."
        )
    answer = Response(status=204)
    del answer.headers["Content-Type"]
    answer.headers["Access-Control-Allow-Methods"] = "GET, POST"
    # "*" would not stand for Authorization, so the names are given back.
    if _NAMES(asked):
        answer.headers["Access-Control-Allow-Headers"] = asked
    if header("Access-Control-Request-Private-Network") == "true":
        answer.headers["Access-Control-Allow-Private-Network"] = "true"
    answer.headers["Access-Control-Max-Age"] = MAX_AGE
    return answer


def cors_headers(origins: tuple[str, ...], header: Header) -> list[tuple[str, str]]:
    """The headers of every answer, errors included, while ``origins`` may call."""
    if _ANY in origins:
        return [("Access-Control-Allow-Origin", _ANY), ("Access-Control-Expose-Headers", EXPOSED)]
    vary, origin = ("Vary", "Origin"), header("Origin")
    if origin is None or not _is_allowed(origins, origin):
        return [vary]
    return [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", EXPOSED), vary]


def _is_allowed(origins: tuple[str, ...], origin: str) -> bool:
    return _ANY in origins or origin in origins
