"""Translates requests of Anthropic's Messages API for upstreams that take chat.

``docs/dialects.md`` has the table of fields. Sources: https://docs.claude.com/en/api/messages and
https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...model.call import Call, Continues, Operation
from ...model.quirks import Effort, TranslationTarget, UserIds
from .chat_answers_as_messages import MessageRewriter, worded_for_messages
from .message_blocks import Message, MessagesReader, raw_messages
from .request_parts import (
    EMPTY,
    FALSE,
    TRUE,
    FieldRefusals,
    Raw,
    encoded,
    first,
    list_of,
    number_of,
    object_of,
    text_of,
)
from .translation import FieldTable, Translated, Translation

FIELDS = FieldTable(
    mapped={
        "model": "`model`",
        "max_tokens": "`max_tokens_field`; at most `max_output_tokens`; 0 is refused",
        "messages": "`messages`, tool results first; system messages in the middle by `inline_system`",
        "system": "the first message, without Claude Code's attribution",
        "stream": "`stream`",
        "temperature": "`temperature`",
        "top_p": "`top_p`",
        "top_k": "`top_k` if the upstream takes it, else refused",
        "stop_sequences": "`stop`",
        "tools": "`tools`; of deferred ones those that a `tool_reference` names; Anthropic's are left out",
        "tool_choice": "`tool_choice`, `parallel_tool_calls`",
        "thinking": "`reasoning_effort`; see `effort`",
        "output_config": "`effort`: `reasoning_effort`; `format`: `response_format`",
        "metadata": "`user_id`: `user` by `user_ids`, else without effect",
    },
    without_effect=(
        "betas",
        "billing_policy",
        "cache_control",
        "compaction",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "inference_geo",
        "service_tier",
        "speed",
        "user_profile_id",
        "workspace_id",
    ),
    refused=("container", "fallbacks", "mcp_servers", "thread"),
)

#: The fields of a tool of the caller, and those of them that change nothing at another provider.
_TOOL = frozenset({"name", "description", "input_schema", "strict", "type", "defer_loading"})
_TOOL_IDLE = frozenset({"cache_control", "eager_input_streaming", "input_examples", "allowed_callers"})
_THINKING = frozenset({"", "disabled", "enabled", "adaptive", "between_tools"})
_THINKING_FIELDS = frozenset({"type", "budget_tokens", "display", "block_binding"})
#: Tokens of thinking below which the effort is low, or medium.
_LOW, _MEDIUM = 4_000, 16_000


def translated(call: Call, target: TranslationTarget) -> Translated:
    """Translate a request.

    :raises UnsupportedField: chat has no place for a field. :raises InvalidField: a field has the wrong type.
    """
    request = _Request(call, target)
    for name, raw in call.fields.items():
        if first(raw) != b"n" and name not in _WITHOUT_EFFECT:
            _HANDLERS.get(name, _Request.refused)(request, name, raw)
    return request.done()


_WITHOUT_EFFECT = frozenset(FIELDS.without_effect) | {"model", "messages", "system", "tools", "tool_choice"}
_WITHOUT_EFFECT |= {"thinking", "output_config"}


class _Request:
    """The request in the making."""

    def __init__(self, call: Call, target: TranslationTarget) -> None:
        self.call = call
        self.target = target
        self.quirks = target.quirks
        self.refusals = FieldRefusals(call, Operation.CHAT, target)
        self.out: dict[str, Any] = {}

    def done(self) -> Translated:
        messages = self._messages()
        self.out["messages"] = raw_messages(messages.messages)
        self._tools(messages.referenced)
        display = self._thinking()
        fields = {
            name: value if isinstance(value, Raw) else encoded(value) for name, value in self.out.items()
        }
        rewriter = MessageRewriter(self.call.asked_model, hides_thinking=display == "omitted")
        return Translated(fields, rewriter, {}, tuple(self.refusals.left_out))

    # ------------------------------------------------------------------ fields of one value

    def same(self, name: str, raw: msgspec.Raw) -> None:
        self.out[name] = raw

    def refused(self, name: str, raw: msgspec.Raw) -> None:
        if bytes(raw).strip() not in (b"[]", b'"default"'):
            self.refusals.refuse(name)

    def max_tokens(self, name: str, raw: msgspec.Raw) -> None:
        wanted, most = number_of(raw) or 0, self.quirks.max_output_tokens
        if wanted < 1:
            raise self.refusals.error(name, "It warms a cache that this upstream does not have.")
        capped = most and wanted > most
        self.out[self.quirks.max_tokens_field] = encoded(most) if capped else raw

    def top_k(self, name: str, raw: msgspec.Raw) -> None:
        if self.quirks.top_k:
            self.out[name] = raw
        else:
            self.refusals.refuse(name, "'top_k = true' there sends it.")

    def stop(self, name: str, raw: msgspec.Raw) -> None:
        if list_of(raw, name):
            self.out["stop"] = raw

    def metadata(self, name: str, raw: msgspec.Raw) -> None:
        fields = object_of(raw, name)
        self.refusals.beyond(fields, {"user_id"}, name)
        user = fields.get("user_id")
        if user is None or self.quirks.user_ids is UserIds.NATIVE:
            return
        replaced = self.quirks.user_ids is UserIds.REPLACE
        self.out["user"] = encoded(self.call.caller.id) if replaced else user

    # ------------------------------------------------------------------ messages

    def _messages(self) -> MessagesReader:
        reader = MessagesReader(self.quirks, self.refusals)
        if (system := self.call.fields.get("system")) is not None and first(system) != b"n":
            reader.add_system(system)
        for number, raw in enumerate(list_of(self.call.fields["messages"], "messages")):
            reader.add(raw, f"messages.{number}")
        reader.finish()
        if reader.messages and reader.messages[-1]["role"] == "assistant":
            self._continue(reader.messages[-1])
        return reader

    def _continue(self, message: Message) -> None:
        """Ask for the rest of an answer that the request begins."""
        how = self.target.continues
        if how is None or "tool_calls" in message:
            last = len(list_of(self.call.fields["messages"], "messages")) - 1
            hint = "The last message is the assistant's; 'continues' there says how it continues one."
            raise self.refusals.error(f"messages.{last}", hint)
        if how is Continues.PREFIX:
            message["prefix"] = True
        if how is Continues.VLLM:
            self.out |= {"continue_final_message": TRUE, "add_generation_prompt": FALSE}

    # ------------------------------------------------------------------ tools

    def _tools(self, referenced: set[str]) -> None:
        raw, choice = self.call.fields.get("tools"), self.call.fields.get("tool_choice")
        items = [] if raw is None or first(raw) == b"n" else list_of(raw, "tools")
        tools, hosted = [], []
        for number, item in enumerate(items):
            path = f"tools.{number}"
            tool = object_of(item, path)
            if "input_schema" not in tool and text_of(tool.get("type", EMPTY), path) not in ("", "custom"):
                hosted.append((path, text_of(tool.get("name", EMPTY), path)))
            elif first(tool.get("defer_loading", EMPTY)) != b"t" or tool_name(tool, path) in referenced:
                tools.append(self._tool(tool, path))
        wanted = {} if choice is None or first(choice) == b"n" else object_of(choice, "tool_choice")
        named = text_of(wanted.get("name", EMPTY), "tool_choice.name")
        for path, name in hosted:
            if not tools or name == named:
                self.refusals.refuse(path, "It is a tool of Anthropic's.")
            else:
                self.refusals.drop(path)
        if tools:
            self.out["tools"] = tools
            self._choice(wanted, named)

    def _tool(self, tool: dict[str, msgspec.Raw], path: str) -> dict[str, Any]:
        self.refusals.beyond(tool, _TOOL | _TOOL_IDLE, path)
        function: dict[str, Any] = {"name": tool.get("name", EMPTY)}
        if "description" in tool:
            function["description"] = tool["description"]
        function["parameters"] = tool.get("input_schema", Raw(b"{}"))
        if "strict" in tool:
            function["strict"] = tool["strict"]
        return {"type": "function", "function": function}

    def _choice(self, choice: dict[str, msgspec.Raw], named: str) -> None:
        self.refusals.beyond(choice, {"type", "name", "disable_parallel_tool_use"}, "tool_choice")
        kind = text_of(choice.get("type", EMPTY), "tool_choice.type")
        if kind == "tool":
            self.out["tool_choice"] = {"type": "function", "function": {"name": named}}
        elif kind:
            names = {"auto": "auto", "any": "required", "none": "none"}
            if kind not in names:
                raise self.refusals.error("tool_choice", "It is auto, any, tool or none.")
            self.out["tool_choice"] = names[kind]
        if first(choice.get("disable_parallel_tool_use", EMPTY)) == b"t" and self.quirks.parallel_tools:
            self.out["parallel_tool_calls"] = FALSE

    # ------------------------------------------------------------------ thinking

    def _thinking(self) -> str:
        """Add the effort and the format. Return how thinking is to be displayed."""
        fields = self.call.fields
        raw, config = fields.get("thinking"), fields.get("output_config")
        thinking = {} if raw is None or first(raw) == b"n" else object_of(raw, "thinking")
        output = {} if config is None or first(config) == b"n" else object_of(config, "output_config")
        kind = text_of(thinking.get("type", EMPTY), "thinking.type")
        if kind not in _THINKING:
            self.refusals.refuse("thinking")
        self.refusals.beyond(thinking, _THINKING_FIELDS, "thinking")
        effort = output.get("effort")
        if kind == "disabled":
            effort = Raw(b'"none"')
        elif effort is None and kind == "enabled":
            effort = encoded(_effort_of(number_of(thinking.get("budget_tokens")) or 0))
        self._effort(effort, off=kind == "disabled")
        self.refusals.beyond(output, {"effort", "format", "task_budget"}, "output_config")
        if "format" in output:
            self._format(object_of(output["format"], "output_config.format"))
        return text_of(thinking.get("display", EMPTY), "thinking.display")

    def _effort(self, effort: msgspec.Raw | None, *, off: bool) -> None:
        if effort is None or self.quirks.effort is Effort.NONE:
            return
        if self.quirks.effort is Effort.TEMPLATE:
            self.out["chat_template_kwargs"] = {"enable_thinking": not off}
        else:
            self.out["reasoning_effort"] = effort

    def _format(self, wanted: dict[str, msgspec.Raw]) -> None:
        kind = text_of(wanted.get("type"), "output_config.format.type")
        if kind != "json_schema" or not self.quirks.json_schema:
            self.refusals.refuse("output_config.format")
            return
        self.refusals.beyond(wanted, {"type", "schema"}, "output_config.format")
        schema = {"name": "answer", "schema": wanted.get("schema", Raw(b"{}")), "strict": True}
        self.out["response_format"] = {"type": "json_schema", "json_schema": schema}


def tool_name(tool: dict[str, msgspec.Raw], path: str) -> str:
    """:raises InvalidField: the tool has no name."""
    return text_of(tool.get("name"), f"{path}.name")


def _effort_of(budget: int) -> str:
    """The effort that fits a budget of thinking, tokens."""
    return "low" if budget < _LOW else "medium" if budget < _MEDIUM else "high"


_HANDLERS: dict[str, Callable[[_Request, str, msgspec.Raw], None]] = {
    "stream": _Request.same,
    "temperature": _Request.same,
    "top_p": _Request.same,
    "max_tokens": _Request.max_tokens,
    "top_k": _Request.top_k,
    "stop_sequences": _Request.stop,
    "metadata": _Request.metadata,
}

MESSAGES_TO_CHAT = Translation(Operation.MESSAGE, Operation.CHAT, translated, FIELDS, worded_for_messages)
