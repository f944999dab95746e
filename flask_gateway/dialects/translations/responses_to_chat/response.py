"""Builds the response object of the Responses API, and the items of its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ....model.call import Usage
from .raw import Raw, is_null, on_one_line
from .tools import Tool, ToolNames

#: Fields of the request that the response repeats, with what stands for a missing one.
_REPEATED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
#: Finish reasons of chat that leave a response incomplete.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseShell:
    """The part of a response that is known before its answer: the request's values, and ids.

    All ids follow from one, so an answer can be found in the log by its own id.

    :param identifier: for the ids. :param created: seconds since the epoch.
    :param model: by the caller's name.
    :param fields: the Responses request. :param tools: its tools.
    """

    def __init__(
        self, identifier: str, created: int, model: str, fields: Mapping[str, Raw], tools: ToolNames
    ) -> None:
        self.tools = tools
        self._identifier = identifier
        self._created = created
        self._model = model
        self._repeated = {
            name: missing if is_null(fields.get(name)) else on_one_line(fields[name])
            for name, missing in _REPEATED.items()
        }

    def item_id(self, prefix: str, number: int) -> str:
        return f"{prefix}_{self._identifier}_{number}"

    @property
    def names(self) -> dict[str, Any]:
        """The fields that name the response."""
        return {"id": f"resp_{self._identifier}", "created_at": self._created, "model": self._model}

    def response(
        self, status: str, output: list[Any], reason: str | None = None, usage: Usage | None = None
    ) -> dict[str, Any]:
        """The response object.

        :param reason: why it is incomplete.
        """
        return {
            "id": f"resp_{self._identifier}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None if reason is None else {"reason": reason},
            "model": self._model,
            "output": output,
            "previous_response_id": None,
            "store": False,
            "usage": None if usage is None else usage_object(usage),
            **self._repeated,
        }

    def ended(self, finish: Any, output: list[Any], usage: Usage | None) -> dict[str, Any]:
        """The response object of a whole answer.

        :param finish: chat's finish reason.
        """
        reason = incomplete_reason(finish)
        return self.response("completed" if reason is None else "incomplete", output, reason, usage)


def incomplete_reason(finish: Any) -> str | None:
    """Why a response with this finish reason is incomplete; ``None``: it is complete."""
    return _INCOMPLETE.get(finish) if isinstance(finish, str) else None


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.parts.get("write", 0),
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.parts.get("reasoning", 0)},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def refusal_part(refusal: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": refusal}


def reasoning_part(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def message_item(identifier: str, status: str, content: list[Any]) -> dict[str, Any]:
    return {"id": identifier, "type": "message", "status": status, "role": "assistant", "content": content}


def reasoning_item(identifier: str, status: str, content: list[Any]) -> dict[str, Any]:
    return {"id": identifier, "type": "reasoning", "status": status, "summary": [], "content": content}


def call_item(identifier: str, status: str, call_id: str, tool: Tool, arguments: str) -> dict[str, Any]:
    """The item of a tool's call.

    :param arguments: JSON, or the text for a custom tool.
    """
    kind, field = ("custom_tool_call", "input") if tool.custom else ("function_call", "arguments")
    item = {"id": identifier, "type": kind, "status": status, "call_id": call_id, "name": tool.name}
    return item | ({"namespace": tool.namespace} if tool.namespace else {}) | {field: arguments}


encode = msgspec.json.Encoder().encode
