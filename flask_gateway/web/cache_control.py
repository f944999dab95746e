"""Reads what a request says about the cache: ``Cache-Control``, and LiteLLM's field ``cache``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..model.cache_request import UNSAID, CacheRequest
from .request_headers import Header

_MAX_AGE = re.compile(r"max-age=\"?([0-9]{1,9})\"?", re.ASCII).fullmatch
#: The longest field ``cache`` that is read, bytes.
_LONGEST = 1024


def cache_request(
    header: Header, fields: Mapping[str, msgspec.Raw]
) -> tuple[CacheRequest, Mapping[str, msgspec.Raw]]:
    """Read what the request says. Return that, and its fields without ``cache``.

    Directives that are not known are ignored, as RFC 9111, section 5.2.3, has it.

    :param header: returns a header by its name.
    """
    said = _directives(header("cache-control") or "")
    if "cache" not in fields:
        return said, fields
    rest = {name: value for name, value in fields.items() if name != "cache"}
    return _and_litellm(said, fields["cache"]), rest


def _directives(value: str) -> CacheRequest:
    if not value:
        return UNSAID
    parts = [part.strip().lower() for part in value.split(",")]
    ages = [int(match[1]) for part in parts if (match := _MAX_AGE(part))]
    return CacheRequest(
        no_cache="no-cache" in parts,
        no_store="no-store" in parts,
        max_age=float(min(ages)) if ages else None,
        only_if_cached="only-if-cached" in parts,
    )


def _and_litellm(said: CacheRequest, raw: msgspec.Raw) -> CacheRequest:
    """Add LiteLLM's words: ``no-cache``, ``no-store``, ``s-maxage``, ``use-cache`` (docs/proxy/caching)."""
    words: Any = None
    if len(memoryview(raw)) <= _LONGEST:
        try:
            words = msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            words = None
    if not isinstance(words, dict):
        return said
    ages = [words.get(name) for name in ("s-maxage", "s-max-age", "ttl")]
    age = next((float(one) for one in ages if isinstance(one, int | float) and one >= 0), None)
    if age is None and words.get("use-cache") is True:
        age = float(2**31)  # asked for, however old
    return CacheRequest(
        no_cache=said.no_cache or words.get("no-cache") is True,
        no_store=said.no_store or words.get("no-store") is True,
        max_age=said.max_age if age is None else age,
        only_if_cached=said.only_if_cached,
    )
