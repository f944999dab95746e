"""Defines what a caller says about the cache, by ``Cache-Control`` or by LiteLLM's field ``cache``."""

from __future__ import annotations

import msgspec


class CacheRequest(msgspec.Struct, frozen=True):
    """The instructions of one request (RFC 9111, section 5.2.1).

    :param no_cache: ask the upstream, and keep its answer.
    :param no_store: neither use a kept answer nor keep this one.
    :param max_age: the oldest answer to use, seconds; ``None``: as old as the settings say.
    :param only_if_cached: use a kept answer, or answer 504.
    """

    no_cache: bool = False
    no_store: bool = False
    max_age: float | None = None
    only_if_cached: bool = False


#: A request that says nothing.
UNSAID = CacheRequest()
