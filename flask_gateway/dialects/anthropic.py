"""The dialect of Anthropic's API: so far its words for errors, for callers who use its paths."""

from __future__ import annotations

import re
from typing import Any

from ..model.errors import GatewayError
from . import openai

#: The paths of the API.
is_path = re.compile(r"/+(?:anthropic/+)?(?:v1/+)*(?:messages|complete)(?:/.*)?", re.DOTALL).fullmatch

#: The error types by status. The API's clients know no others.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def envelope(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Word an error as Anthropic's error object. It keeps the fields that OpenAI's clients read."""
    other = "invalid_request_error" if error.status < 500 else "api_error"
    fields = {**openai.envelope(error)["error"], "type": _TYPES.get(error.status, other)}
    return {"type": "error", "error": fields, "request_id": request_id}
