"""Builds the response headers that report an error: its origin, its upstream, and when to try again.

Flask's error handlers use it, and so does the server for requests that never reach Flask.
"""

from __future__ import annotations

import math

from .errors import GatewayError

#: The openai SDK gives up at once if it is told to wait for longer than this, seconds.
LONGEST_WAIT = 120.0


def error_headers(error: GatewayError) -> dict[str, str]:
    """The headers of the error's response, besides its content type and its ids."""
    headers = {**error.headers, "x-gateway-error-origin": error.origin}
    if error.upstream is not None:
        headers["x-gateway-upstream"] = error.upstream
    if error.retry_after is not None:
        wait = min(error.retry_after, error.max_retry_after, LONGEST_WAIT)
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
        headers["retry-after-ms"] = str(max(1, math.ceil(wait * 1000)))
    return headers
