"""What an upstream's status other than 200 means, for the caller and for the upstream's record."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ..errors import (
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamMisconfigured,
    UpstreamQuotaExhausted,
    UpstreamRefusal,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamTooLong,
)

#: The most that is read of an error's body, bytes.
MAX_ERROR_BODY = 64 * 1024
#: The longest pause an upstream may ask for, seconds. Beyond it the word is not believable.
MAX_RETRY_AFTER = 24 * 3600.0
#: 4xx that speak of our own standing with the upstream, not of the request.
_OUR_CREDENTIAL = frozenset({401, 402, 403, 407})

#: How servers without OpenAI's code say it: vLLM and llama.cpp, Anthropic, Mistral.
_TOO_LONG = ("maximum context length", "context size", "context window", "prompt is too long")


def error_for(status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> UpstreamError:
    """The error for an answer with that status.

    :param body: what was read of the answer's body, at most ``MAX_ERROR_BODY``.
    """
    error = _error_for(status, retry_after(headers, time.time()), body, upstream)
    error.answered = status
    return error


def _error_for(status: int, wait: float | None, body: bytes, upstream: str) -> UpstreamError:
    said = f"Upstream '{upstream}' answered {status}"
    if status in _OUR_CREDENTIAL:
        return UpstreamAuthFailed(
            f"{said}: it does not accept the credential that the gateway is configured with. "
            "Your own key is fine; tell the operator.",
            upstream=upstream,
        )
    if status == 408:
        return UpstreamTimeout(f"{said}: it gave up waiting.", retry_after=wait, upstream=upstream)
    if status == 429:
        told = _error_object(body, said + ": too many requests.", "requests")
        throttled = UpstreamQuotaExhausted if _is_quota(told) else UpstreamThrottled
        return throttled(
            said + ": too many requests.",
            status=429,
            said=told,
            retry_after=wait,
            upstream=upstream,
        )
    if 400 <= status < 500 and status != 425:
        told = _error_object(body, said + ".", "invalid_request_error")
        kind = UpstreamTooLong if status in (400, 413) and _is_too_long(told) else UpstreamRefusal
        return kind(said + ".", status=status, said=told, upstream=upstream)
    if status < 400 or status in (501, 505):
        return UpstreamMisconfigured(f"{said}, which no OpenAI API does: check its URL.", upstream=upstream)
    return UpstreamError(said + ".", retry_after=wait, upstream=upstream)


def _is_too_long(said: Mapping[str, Any]) -> bool:
    """Whether it is the context that is too short. OpenAI has a code for it, others have words."""
    words = str(said["message"]).lower()
    return said.get("code") == "context_length_exceeded" or any(phrase in words for phrase in _TOO_LONG)


def _is_quota(said: Mapping[str, Any]) -> bool:
    """Whether it is the month's money that is used up, and not the minute's requests. OpenAI's word."""
    return "insufficient_quota" in (said.get("code"), said.get("type"))


def _error_object(body: bytes, message: str, kind: str) -> dict[str, Any]:
    """The upstream's own ``error`` object, in OpenAI's shape as far as it can be brought there."""
    try:
        parsed = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        parsed = None
    said = parsed.get("error", parsed) if isinstance(parsed, dict) else None
    if isinstance(said, str):
        said = {"message": said}
    if not isinstance(said, dict):
        said = {}
    if not isinstance(said.get("message"), str):
        detail = said.pop("detail", None)  # FastAPI's word for it
        said["message"] = detail if isinstance(detail, str) else message
    if not isinstance(said.get("type"), str):
        said["type"] = kind
    said.setdefault("param", None)
    return said


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The pause an upstream asks for, seconds; ``None`` when it asks for none.

    ``retry-after-ms`` is OpenAI's; ``Retry-After`` is RFC 9110's, seconds or a date.

    :param now: seconds since the epoch.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return min(wait, MAX_RETRY_AFTER) if math.isfinite(wait) and wait >= 0 else None
    try:
        date = parsedate_to_datetime(headers["retry-after"])
        return min(max(0.0, date.timestamp() - now), MAX_RETRY_AFTER)
    except (KeyError, ValueError, OverflowError):
        return None
