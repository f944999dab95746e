"""Maps the fields that LiteLLM sends with each call of a deployment to those of Anthropic's Messages API."""

from __future__ import annotations

from typing import Any

#: Fields that Anthropic's API has under the same name.
_SAME = frozenset(
    {"temperature", "top_p", "top_k", "max_tokens", "thinking", "output_config", "context_management"}
)
_RENAMED = {"max_completion_tokens": "max_tokens"}


def message_field(name: str, value: Any) -> tuple[str, Any] | None:
    """The field and its value as the Messages API has them; ``None``: it has no such field.

    The names are those of LiteLLM's ``AnthropicConfig.map_openai_params``.
    """
    if name in _SAME or name in _RENAMED:
        return _RENAMED.get(name, name), value
    if name == "stop" and isinstance(value, str | list):
        return "stop_sequences", [value] if isinstance(value, str) else value
    if name in ("user", "safety_identifier") and isinstance(value, str):
        return "metadata", {"user_id": value}
    if name == "reasoning_effort" and isinstance(value, str):
        if value in ("none", "disable"):
            return "thinking", {"type": "disabled"}
        return "output_config", {"effort": "low" if value == "minimal" else value}
    return None
