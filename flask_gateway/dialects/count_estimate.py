"""Estimates the tokens of a request to ``messages/count_tokens`` where no upstream counts them.

An estimate that is too low makes clients compact too late, and then their request is refused. So pictures and
documents count, and the sum is raised by 15 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .usage import Tally, estimate

#: Tokens of a picture, as Anthropic counts one of 1.15 megapixels.
IMAGE = 1600
#: Characters of a PDF document in base64 that count as one token: some 60 KB are a page of 1600 tokens.
PDF_CHARACTERS = 40
#: The margin on top, in hundredths.
MARGIN = 15


def counted_tokens(fields: Mapping[str, msgspec.Raw]) -> int:
    """Estimate the tokens of messages, system prompt and tools."""
    text = estimate(fields, Tally()).prompt_tokens
    try:
        more = _beyond_text(msgspec.json.decode(fields["messages"]))
    except (KeyError, ValueError, RecursionError):
        more = 0
    return -(-(text + more) * (100 + MARGIN) // 100)


def _beyond_text(value: Any) -> int:
    """The tokens of pictures, documents and the inputs of tools."""
    if isinstance(value, list):
        return sum(map(_beyond_text, value))
    if not isinstance(value, dict):
        return 0
    kind, source = value.get("type"), value.get("source")
    if kind == "image":
        return IMAGE
    if kind == "document":
        data = source.get("data") if isinstance(source, dict) else ""
        return max(IMAGE, len(str(data)) // PDF_CHARACTERS)
    if kind == "tool_use":
        return len(msgspec.json.encode(value.get("input"))) // 4
    return _beyond_text(value.get("content"))
