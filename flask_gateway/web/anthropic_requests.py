"""Reads from a request to Anthropic's API what its body does not say: headers, query and fallbacks.

A header or a query that the upstream should not get is left out here. ``docs/dialects.md`` lists what passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ..model.errors import InvalidField
from .request_body import MAX_CHAIN, NOT_FORWARDED
from .request_headers import Header

#: All headers of the API together, bytes. Claude Code sends some hundred.
MAX_HEADERS = 8 * 1024
#: The key of such a header in the WSGI environment.
_HEADER = "HTTP_ANTHROPIC_"
_PRINTABLE = re.compile(r"[\x20-\x7e]+").fullmatch
_BETA = re.compile(r"(?:^|&)beta=true(?:&|$)").search


def anthropic_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """The headers ``anthropic-…`` of a request.

    :raises InvalidField: they are longer than :data:`MAX_HEADERS`, or not printable ASCII.
    """
    found = {
        key[len("HTTP_") :].replace("_", "-").lower(): str(value)
        for key, value in environ.items()
        if key.startswith(_HEADER) and value
    }
    size = sum(len(name) + len(value) for name, value in found.items())
    for name, value in found.items():
        if size > MAX_HEADERS or not _PRINTABLE(value):
            raise InvalidField(
                f"The headers 'anthropic-…' must be printable ASCII, and at most {MAX_HEADERS} bytes in all.",
                param=name,
            )
    return found


def anthropic_query(environ: Mapping[str, Any]) -> str:
    """The part of the URL's query that the upstream gets."""
    return "beta=true" if _BETA(environ.get("QUERY_STRING", "")) else ""


def named_fallbacks(
    fields: Mapping[str, msgspec.Raw], header: Header
) -> tuple[Mapping[str, msgspec.Raw], tuple[str, ...] | None]:
    """The fields for the upstream, and the fallback models of the header ``x-gateway-fallbacks``.

    The field ``fallbacks`` is the API's own, so it passes.

    :raises InvalidField: the header names too many models.
    """
    kept = NOT_FORWARDED - {"fallbacks"}
    rest = {name: value for name, value in fields.items() if name not in kept}
    given = header("x-gateway-fallbacks")
    if given is None:
        return rest, None
    chain = tuple(name.strip() for name in given.split(",") if name.strip())
    if len(chain) > MAX_CHAIN:
        raise InvalidField(
            f"The header 'x-gateway-fallbacks' may name {MAX_CHAIN} models at most.",
            param="x-gateway-fallbacks",
        )
    return rest, chain


def quota_headers(headers: Mapping[str, str], now: float) -> dict[str, str]:
    """The caller's quota by the names that clients of this API read.

    https://docs.claude.com/en/api/rate-limits

    :param headers: with the quota by OpenAI's names. :param now: seconds since the epoch.
    """
    named: dict[str, str] = {}
    for what in ("requests", "tokens"):
        quota = [headers.get(f"x-ratelimit-{part}-{what}") for part in ("limit", "remaining", "reset")]
        limit, remaining, wait = quota
        if limit is None or remaining is None or wait is None:
            continue
        reset = datetime.fromtimestamp(now, UTC) + timedelta(seconds=_seconds(wait))
        named |= {
            f"anthropic-ratelimit-{what}-limit": limit,
            f"anthropic-ratelimit-{what}-remaining": remaining,
            f"anthropic-ratelimit-{what}-reset": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    return named


_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _seconds(duration: str) -> float:
    """The seconds of a duration such as ``6m0s`` (``guards/rate_limiter.py``)."""
    return sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(duration))
