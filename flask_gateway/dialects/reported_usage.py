"""Collects the usage that an upstream reports, part by part, from any place in its answer.

A part that is null or invalid leaves the other parts as they are. Usage only grows, so a part that is zero
does not replace an earlier, larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.call import Usage

#: A larger number of tokens is ignored.
MAX_TOKENS = 10**10

#: The names of each number in chat, Responses and Cohere, Gemini, Bedrock, Ollama.
_PROMPT = (
    "prompt_tokens",
    "input_tokens",
    "promptTokenCount",
    "inputTokens",
    "promptTokens",
    "prompt_eval_count",
)
_COMPLETION = (
    "completion_tokens",
    "output_tokens",
    "candidatesTokenCount",
    "outputTokens",
    "completionTokens",
    "eval_count",
    "generated_tokens",
)
_TOTAL = ("total_tokens", "totalTokenCount", "totalTokens", "tokens")
_CACHED = (
    "cached_tokens",  # Moonshot
    "prompt_cache_hit_tokens",  # DeepSeek
    "cache_read_input_tokens",  # Anthropic, and proxies in front of it
    "cachedContentTokenCount",
    "cacheReadInputTokens",
)
_ANY_CACHED = frozenset(_CACHED)
_WRITTEN = ("cache_creation_input_tokens", "cache_write_tokens", "cacheWriteInputTokens")
#: Further counts in the details of the prompt and of the answer, by their names in ``model/units.py``.
_PROMPT_PARTS = {"input_audio": ("audio_tokens",), "input_image": ("image_tokens",), "write": _WRITTEN}
_ANSWER_PARTS = {
    "reasoning": ("reasoning_tokens", "thinking_tokens"),
    "output_audio": ("audio_tokens",),
    "output_image": ("image_tokens",),
}
#: Anthropic's counts of tokens written to a cache, by how long they live.
_LIFETIMES = {"write_5m": ("ephemeral_5m_input_tokens",), "write_1h": ("ephemeral_1h_input_tokens",)}
#: Anthropic's counts of its own tools.
_TOOL_PARTS = {"searches": ("web_search_requests",)}
_CACHED_PARTS = {"cached_audio": ("audio_tokens",)}
#: Service tiers at the usual price.
_USUAL_SERVICE = ("default", "auto", "standard")
#: Fields of a usage object that hold further counts, or the service tier.
_DETAILS = frozenset(
    (
        "prompt_tokens_details",
        "input_tokens_details",
        "completion_tokens_details",
        "output_tokens_details",
        "cache_creation",
        "server_tool_use",
        "service_tier",
        *_WRITTEN,
    )
)
#: Fields that Anthropic's usage object does not have, and counts that its ``input_tokens`` leaves out.
_OPENAI = frozenset(("prompt_tokens", "input_tokens_details", "total_tokens"))
_APART = ("cache_read_input_tokens", "cache_creation_input_tokens")
#: The longest name of a service tier that is kept, characters.
_MOST_SERVICE = 32


def plain_usage(fields: Any) -> Usage | None:
    """The usage of a ``usage`` object that has OpenAI's three counts alone, as most have; else ``None``."""
    if type(fields) is dict and len(fields) == 3 and "total_tokens" in fields:
        prompt, completion = fields.get("prompt_tokens"), fields.get("completion_tokens")
        if type(prompt) is type(completion) is int and 0 < prompt <= MAX_TOKENS >= completion > 0:
            return Usage(prompt, completion)
    return None


class ReportedUsage:
    """The parts that have been reported so far; ``None``: not yet. False while no part is above 0."""

    __slots__ = ("cached", "completion", "parts", "prompt", "service", "total")

    def __init__(self) -> None:
        self.prompt: int | None = None
        self.completion: int | None = None
        self.total: int | None = None
        self.cached = 0
        #: Further counts, by their names in ``model/units.py``.
        self.parts: dict[str, int] = {}
        self.service = ""

    def __bool__(self) -> bool:
        return bool(self.prompt or self.completion or self.total)

    @property
    def is_zero(self) -> bool:
        """Whether the upstream reported that the call used nothing."""
        return self.prompt == self.completion == 0 and not self.total

    def add(self, fields: Any) -> None:
        """Add the valid parts of a ``usage`` object. They replace earlier ones."""
        if not isinstance(fields, dict):
            return
        if (prompt := _prompt(fields)) or self.prompt is None:
            self.prompt = prompt
        if (completion := _count(fields, _COMPLETION)) or self.completion is None:
            self.completion = completion
        if (total := _count(fields, _TOTAL)) or self.total is None:
            self.total = total
        details = fields.get("prompt_tokens_details") or fields.get("input_tokens_details")
        cached = _count(details, _CACHED) if isinstance(details, dict) else None
        if not cached and not _ANY_CACHED.isdisjoint(fields):
            cached = _count(fields, _CACHED)
        self.cached = cached or self.cached
        if not _DETAILS.isdisjoint(fields):
            self._add_parts(fields, details)

    def _add_parts(self, fields: dict[str, Any], prompt: Any) -> None:
        answer = fields.get("completion_tokens_details") or fields.get("output_tokens_details")
        lifetimes, written = fields.get("cache_creation"), {"write": _WRITTEN}
        for details, names in (
            (prompt, _PROMPT_PARTS),
            (prompt.get("cached_tokens_details") if isinstance(prompt, dict) else None, _CACHED_PARTS),
            (answer, _ANSWER_PARTS),
            (fields, written),
            (lifetimes, _LIFETIMES),
            (fields.get("server_tool_use"), _TOOL_PARTS),
        ):
            if isinstance(details, dict):
                counts = {name: _count(details, keys) for name, keys in names.items()}
                self.parts |= {name: count for name, count in counts.items() if count}
        self.add_service(fields.get("service_tier"))

    def add_service(self, service: Any) -> None:
        """Add the service tier that an answer reports."""
        if isinstance(service, str) and service not in _USUAL_SERVICE:
            self.service = service[:_MOST_SERVICE]

    def add_document(self, document: dict[str, Any]) -> None:
        """Add the usage in a whole document, from each place where servers put it; the best place last."""
        self.add_timings(document.get("timings"))
        if "eval_count" in document or "prompt_eval_count" in document:  # Ollama's own
            self.add(document)
        usage, meta = document.get("usage"), document.get("meta")
        for outer in (meta, usage):  # Cohere's API v1 and v2
            self.add(_inside(outer, "tokens"))
            self.add(_inside(outer, "billed_units"))
        self.add(document.get("usageMetadata"))
        self.add(_inside(document.get("x_groq"), "usage"))
        self.add(_inside(document.get("response"), "usage"))
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            self.add(_inside(choice, "usage"))
        self.add(usage)

    def add_timings(self, fields: Any) -> None:
        """Add llama.cpp's timings: tokens read, read from the cache, and written."""
        if isinstance(fields, dict) and not self:
            read, known = _count(fields, ("prompt_n",)), _count(fields, ("cache_n",)) or 0
            self.prompt = None if read is None else read + known
            self.completion, self.cached = _count(fields, ("predicted_n",)), known

    def usage(self, prompt_tokens: Callable[[], int], answer_tokens: Callable[[], int]) -> Usage:
        """Return the usage, with estimates for the missing parts.

        :param prompt_tokens: estimates the prompt's. :param answer_tokens: estimates the answer's.
        """
        prompt, completion, total = self.prompt, self.completion, self.total
        if total and not prompt and not completion:
            completion = min(total, answer_tokens())
            prompt = total - completion
        if completion is None:
            completion = answer_tokens() if prompt is None or total is None else max(0, total - prompt)
        if prompt is None:
            prompt = prompt_tokens() if total is None else max(0, total - completion)
        return Usage(prompt, completion, self.cached, parts=self.parts, service=self.service)

    def complete(self) -> Usage:
        """Return the usage of an answer that reported both the prompt and the answer."""
        parts, service = self.parts, self.service
        return Usage(self.prompt or 0, self.completion or 0, self.cached, parts=parts, service=service)


def _inside(outer: Any, name: str) -> Any:
    return outer.get(name) if isinstance(outer, dict) else None


def _prompt(fields: dict[str, Any]) -> int | None:
    """The tokens of the prompt in all. Anthropic reports cached and written tokens next to the others.

    https://docs.claude.com/en/api/messages: the total input is the sum of the three.
    """
    prompt = _count(fields, _PROMPT)
    if prompt is None or "input_tokens" not in fields or not _OPENAI.isdisjoint(fields):
        return prompt
    return prompt + sum(_count(fields, (name,)) or 0 for name in _APART)


def _count(fields: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the first of these fields that is a number of tokens."""
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if type(value) is not int:
            value = _whole(value)
        if value is not None and 0 <= value <= MAX_TOKENS:
            return value
    return None


def _whole(value: Any) -> int | None:
    """Convert a number that some servers write as a text, or as a float."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None
