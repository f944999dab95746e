"""Decides which calls may be answered from the cache, and which answers are kept. Pure functions.

Each refusal is a reason in one or two words, for metrics and for the header of the answer.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..config.cache_settings import CacheMode, ModelCache
from ..model.call import Call, Operation, Outcome
from ..model.errors import Verdict

#: The largest request and the largest answer that are kept, bytes.
MOST_ASKED, MOST_KEPT = 256 * 1024, 1024 * 1024
#: The operations whose answers are kept. Nothing is sampled in the last three.
_UNSAMPLED = frozenset({Operation.EMBEDDING, Operation.MODERATION, Operation.RERANK})
_KEPT = _UNSAMPLED | {Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.MESSAGE}
#: Fields of chat that never keep an answer out.
_PLAIN = frozenset(
    {
        "messages",
        "model",
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "seed",
        "top_p",
        "stop",
    }
    | {
        "stop",
        "stream_options",
        "response_format",
        "user",
        "metadata",
        "frequency_penalty",
        "presence_penalty",
    }
)
#: Fields that refer to something that an upstream keeps, or has it do something.
_STATEFUL = ("previous_response_id", "conversation", "container", "prompt", "context_management")
_SERVER_SIDE = ("web_search_options", "mcp_servers", "tool_resources", "search_parameters", "plugins")
#: The types of tools that the caller runs itself.
_OWN_TOOLS = frozenset({None, "function", "custom"})
#: Names of a part that refers to what can change: a file at the provider, or a URL.
_REFERENCES = frozenset({"file_id", "file_url", "image_url", "video_url", "audio_url", "url", "container_id"})
#: Types of parts that are sound.
_SOUND = frozenset({"input_audio", "audio", "output_audio"})
#: Only requests with one of these words can have such parts.
_MARKS = (b"_id", b"url", b"audio")

#: A finish reason of OpenAI's or Anthropic's API that says that a filter has cut the answer.
_FILTERED = re.compile(rb'"(?:finish_reason|stop_reason|reason)"\s*:\s*"(?:content_filter|refusal)"').search

#: Every reason why a call bypasses the cache, or an answer is not kept.
REASONS = frozenset(
    {
        *("operation", "content", "not asked", "sampled", "no-store", "large request", "stored state"),
        *("several answers", "server tools", "references", "audio", "later tier", "continued", "failed"),
        *("large answer", "filtered", "unfinished", "busy", "full"),
    }
)


def bypass(call: Call, cache: ModelCache) -> str:
    """Why a call is neither answered from the cache nor kept; empty if it may be."""
    if call.direct is not None or call.operation not in _KEPT:
        return "operation"
    if not call.caller.content:
        return "content"
    if call.cache.no_store:
        return "no-store"
    if cache.mode is CacheMode.ASKED and call.cache.max_age is None:
        return "not asked"
    if sum(len(memoryview(value)) for value in call.fields.values()) > MOST_ASKED:
        return "large request"
    if cache.mode is CacheMode.DETERMINISTIC and not is_deterministic(call):
        return "sampled"
    return _never(call)


def is_deterministic(call: Call) -> bool:
    """Whether nothing is left to chance: nothing is sampled, the temperature is 0, or there is a seed."""
    if call.operation in _UNSAMPLED:
        return True
    temperature, seed = _value(call, "temperature"), _value(call, "seed")
    sampled_at = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    return (sampled_at and temperature == 0) or (isinstance(seed, int) and not isinstance(seed, bool))


def _never(call: Call) -> str:
    if call.operation is Operation.CHAT and call.fields.keys() <= _PLAIN:  # the usual case
        return _parts(call)
    if _is_stateful(call):
        return "stored state"
    for name in ("n", "best_of"):
        if _value(call, name) not in (None, 1):
            return "several answers"
    if any(_value(call, name) not in (None, False) for name in _SERVER_SIDE) or _has_server_tools(call):
        return "server tools"
    if "audio" in call.fields or "audio" in str(_value(call, "modalities") or ""):
        return "audio"
    return _parts(call)


def _is_stateful(call: Call) -> bool:
    stored, background = _value(call, "store"), _value(call, "background")
    if stored is True or background not in (None, False):
        return True
    if call.operation is Operation.RESPONSE and stored is not False:
        return True  # OpenAI stores responses unless it is told not to
    names = _STATEFUL if call.operation is not Operation.COMPLETION else ()
    return any(_value(call, name) is not None for name in names)


def _has_server_tools(call: Call) -> bool:
    tools = _value(call, "tools")
    if tools is None:
        return False
    if not isinstance(tools, list):
        return True
    return any(not isinstance(tool, dict) or tool.get("type") not in _OWN_TOOLS for tool in tools)


def _parts(call: Call) -> str:
    """Whether the messages refer to something that can change, or have sound."""
    for name in ("messages", "input", "system", "instructions"):
        raw = call.fields.get(name)
        if raw is not None and any(mark in bytes(raw) for mark in _MARKS):
            found = _found(_value(call, name))
            if found:
                return found
    return ""


def _found(value: Any) -> str:
    """Search decoded JSON. Its depth is bounded, as the decoder bounds it."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            pending += one
        elif isinstance(one, dict):
            if one.get("type") in _SOUND:
                return "audio"
            for name, inner in one.items():
                if name in _REFERENCES and isinstance(inner, str) and not inner.startswith("data:"):
                    return "references"
                if isinstance(inner, dict | list):
                    pending.append(inner)
    return ""


def _value(call: Call, name: str) -> Any:
    raw = call.fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return name  # neither absent nor a value that is known to be harmless


def refused(outcome: Outcome, dropped: int, body: bytes) -> str:
    """Why a finished answer is not kept; empty if it is."""
    if outcome.verdict is not Verdict.SUCCESS or outcome.error is not None:
        return "failed" if outcome.error is not None else "unfinished"
    if outcome.parts:
        return "continued"
    if dropped:
        return "unfinished"
    return refused_body(body)


def refused_body(body: bytes) -> str:
    """Why an answer with these bytes is not kept; empty if it is."""
    if len(body) > MOST_KEPT:
        return "large answer"
    return "filtered" if _FILTERED(body) else ""
