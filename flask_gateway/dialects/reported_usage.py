"""The usage that an upstream reports, part by part, from wherever in its answer it stands.

A part that is null or odd takes nothing from the others. A part that is zero takes nothing from one that
was more before, for usage only grows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.call import Usage

#: A larger number of tokens is not believed.
MAX_TOKENS = 10**10

#: Names of the same number: of chat, of Responses and Cohere, of Gemini, of Bedrock, of Ollama.
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


class ReportedUsage:
    """The parts that have been reported so far; ``None``: not yet. False while they count nothing."""

    __slots__ = ("cached", "completion", "prompt", "total")

    def __init__(self) -> None:
        self.prompt: int | None = None
        self.completion: int | None = None
        self.total: int | None = None
        self.cached = 0

    def __bool__(self) -> bool:
        return bool(self.prompt or self.completion or self.total)

    def add(self, said: Any) -> None:
        """Take the parts that can be read of a ``usage`` object. Later ones count."""
        if not isinstance(said, dict):
            return
        if (prompt := _count(said, _PROMPT)) or self.prompt is None:
            self.prompt = prompt
        if (completion := _count(said, _COMPLETION)) or self.completion is None:
            self.completion = completion
        if (total := _count(said, _TOTAL)) or self.total is None:
            self.total = total
        details = said.get("prompt_tokens_details") or said.get("input_tokens_details")
        cached = _count(details, _CACHED) if isinstance(details, dict) else None
        self.cached = cached or _count(said, _CACHED) or self.cached

    def add_found(self, document: dict[str, Any]) -> None:
        """Take the usage of a whole document, wherever in it servers put it; the best place last."""
        self.add_timings(document.get("timings"))
        if "eval_count" in document or "prompt_eval_count" in document:  # Ollama's own
            self.add(document)
        usage, meta = document.get("usage"), document.get("meta")
        for outer in (meta, usage):  # Cohere, of its first and its second version
            self.add(_inside(outer, "tokens"))
            self.add(_inside(outer, "billed_units"))
        self.add(document.get("usageMetadata"))
        self.add(_inside(document.get("x_groq"), "usage"))
        self.add(_inside(document.get("response"), "usage"))
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            self.add(_inside(choice, "usage"))
        self.add(usage)

    def add_timings(self, said: Any) -> None:
        """llama.cpp's: what it has read, what it knew already, what it has written."""
        if isinstance(said, dict) and not self:
            read, known = _count(said, ("prompt_n",)), _count(said, ("cache_n",)) or 0
            self.prompt = None if read is None else read + known
            self.completion, self.cached = _count(said, ("predicted_n",)), known

    def usage(self, asked: Callable[[], int], written: Callable[[], int]) -> Usage:
        """What the parts come to.

        :param asked: about how many tokens the prompt has, and :param written: the answer; for missing parts.
        """
        prompt, completion, total = self.prompt, self.completion, self.total
        if total and not prompt and not completion:
            completion = min(total, written())
            prompt = total - completion
        if completion is None:
            completion = written() if prompt is None or total is None else max(0, total - prompt)
        if prompt is None:
            prompt = asked() if total is None else max(0, total - completion)
        return Usage(prompt, completion, self.cached)


def _inside(outer: Any, name: str) -> Any:
    return outer.get(name) if isinstance(outer, dict) else None


def _count(said: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of these that is a number of tokens."""
    for name in names:
        value = said.get(name)
        if value is None:
            continue
        if type(value) is not int:
            value = _whole(value)
        if value is not None and 0 <= value <= MAX_TOKENS:
            return value
    return None


def _whole(value: Any) -> int | None:
    """A number that some servers write otherwise: as a text, or with a point."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None
