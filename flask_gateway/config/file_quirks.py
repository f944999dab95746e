"""Reads the quirks of an upstream from the fields of its table in the TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..model.quirks import Effort, InlineSystem, Quirks, Unsupported, UserIds
from .value_types import Flag, OneOf, ValueType, WholeNumber

_FLAG = Flag("true or false")
_MOST_TOKENS = 10_000_000

#: By the names in ``Quirks``.
QUIRKS: Mapping[str, ValueType] = {
    "unsupported": OneOf("refuse or drop", tuple(Unsupported)),
    "inline_system": OneOf("keep or fold", tuple(InlineSystem)),
    "max_tokens_field": OneOf("max_tokens or max_completion_tokens", ("max_tokens", "max_completion_tokens")),
    "max_output_tokens": WholeNumber(f"a whole number from 1 to {_MOST_TOKENS}", 1, _MOST_TOKENS),
    "system_role": OneOf("system or developer", ("system", "developer")),
    "top_k": _FLAG,
    "reasoning_field": OneOf("reasoning_content or reasoning", ("reasoning_content", "reasoning")),
    "effort": OneOf("field, template, budget or none", tuple(Effort)),
    "documents": _FLAG,
    "tool_parts": _FLAG,
    "short_tool_ids": _FLAG,
    "json_schema": _FLAG,
    "parallel_tools": _FLAG,
    "user_ids": OneOf("native, pass or replace", tuple(UserIds)),
    "openai_fields": _FLAG,
    "sampling": _FLAG,
    "thought_signatures": _FLAG,
}


def quirks_of(fields: Mapping[str, Any], kind: Quirks) -> Quirks | None:
    """The quirks of an upstream with these checked fields; ``None`` if they are those of its kind."""
    own = {name: type(getattr(kind, name))(fields[name]) for name in QUIRKS if name in fields}
    return msgspec.structs.replace(kind, **own) if own else None
