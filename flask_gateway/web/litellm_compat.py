"""Understands clients of LiteLLM Proxy (``compat = ["litellm"]``): its response headers and request fields.

The names of the headers are those of LiteLLM 1.8 (``docs/proxy/response_headers``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import pairwise

import msgspec

from .request_state import RequestState

#: Fields that LiteLLM's clients send for the proxy itself. LiteLLM forwards none of them.
_FOR_THE_PROXY = frozenset(
    {"metadata", "litellm_metadata", "cache", "caching", "tags", "guardrails", "num_retries", "no-log"}
    | {"litellm_call_id", "litellm_session_id", "litellm_trace_id", "ttl", "s-maxage", "user_config"}
)


def without_proxy_fields(fields: Mapping[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """The fields of a body without those for the proxy."""
    if _FOR_THE_PROXY.isdisjoint(fields):
        return fields
    return {name: value for name, value in fields.items() if name not in _FOR_THE_PROXY}


def litellm_headers(state: RequestState, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that LiteLLM's clients read.

    The address of the upstream (``x-litellm-model-api-base``) is not among them: it is the operator's.

    :param headers: the headers of the response so far.
    """
    known = {name.lower(): value for name, value in headers}
    milliseconds = (time.monotonic() - state.started) * 1000
    added = [
        ("x-litellm-call-id", state.ids.request),
        ("x-litellm-response-duration-ms", f"{milliseconds:.3f}"),
    ]
    if state.model is not None:
        added.append(("x-litellm-model-group", state.model))
    if "x-gateway-upstream" in known:
        added.append(("x-litellm-model-id", known["x-gateway-upstream"]))
    if state.caller is not None and state.caller.rate_limit:
        added.append(("x-litellm-key-rpm-limit", str(state.caller.rate_limit)))
    if attempts := known.get("x-gateway-attempts"):
        retries, fallbacks = _counts(attempts)
        added.append(("x-litellm-attempted-retries", str(retries)))
        added.append(("x-litellm-attempted-fallbacks", str(fallbacks)))
    return added


def _counts(attempts: str) -> tuple[int, int]:
    """How often an upstream was asked again, and how often the next one was asked.

    :param attempts: the header ``x-gateway-attempts``, such as ``a:503:0.41s, b:200:1.02s``.
    """
    asked = [attempt.partition(":")[0] for attempt in attempts.split(", ")]
    fallbacks = sum(before != after for before, after in pairwise(asked))
    return len(asked) - 1 - fallbacks, fallbacks
