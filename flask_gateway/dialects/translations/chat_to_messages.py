"""Translates chat requests for upstreams that take Anthropic's Messages API.

``docs/dialects.md`` has the table of fields. Sources: https://docs.claude.com/en/api/messages and
https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...model.call import Call, Operation
from ...model.quirks import Effort, TranslationTarget
from .chat_messages import ChatMessagesReader, is_name
from .message_answers_as_chat import ChatRewriter, worded_for_chat
from .request_parts import (
    EMPTY,
    NULL,
    FieldRefusals,
    Raw,
    encoded,
    first,
    is_text,
    list_of,
    number_of,
    object_of,
    text_of,
)
from .thinking_budget import BUDGETS, budget_of, may_think
from .translation import FieldTable, Translated, Translation

FIELDS = FieldTable(
    mapped={
        "model": "`model`",
        "messages": "`messages`; system and developer messages before the first other one: `system`",
        "stream": "`stream`",
        "max_completion_tokens": "`max_tokens`; at most `max_output_tokens`",
        "max_tokens": "the same; without either, `max_output_tokens`, or 16384",
        "temperature": "`temperature` from 0 to 1; 1 is left out",
        "top_p": "`top_p`; 1 is left out",
        "stop": "`stop_sequences`, without blank ones",
        "tools": "`tools`; functions only",
        "tool_choice": "`tool_choice`; `allowed_tools` is refused",
        "parallel_tool_calls": "`tool_choice.disable_parallel_tool_use`",
        "response_format": "`output_config.format`; `json_object` is refused",
        "reasoning_effort": "`output_config.effort`, `minimal` as `low`; or `thinking`; see `effort`",
        "modalities": "nothing: it is text; others are refused",
        "user": "`metadata.user_id`",
        "safety_identifier": "`metadata.user_id`",
        "thinking": "`thinking`, as it is in Anthropic's API",
        "top_k": "`top_k`",
    },
    without_effect=(
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "service_tier",
        "stream_options",
    ),
    refused=(
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "moderation",
        "n",
        "presence_penalty",
        "seed",
        "store",
        "top_logprobs",
        "verbosity",
        "web_search_options",
    ),
)

#: The length of an answer where nothing sets it, tokens: the API requires a limit.
LENGTH = 16_384
#: Values that ask for nothing, as JSON. Such a field is never refused.
_NOTHING = frozenset((b"false", b"0", b"0.0", b"[]", b"{}", b'""'))
_NEUTRAL = {"n": (b"1",), "verbosity": (b'"medium"',)}
_EFFORTS = {"minimal": "low"}
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')


def translated(call: Call, target: TranslationTarget) -> Translated:
    """Translate a request.

    :raises UnsupportedField: the API has no place for a field.
    :raises InvalidField: a field has the wrong type.
    """
    request = _Request(call, target)
    for name, raw in call.fields.items():
        if first(raw) != b"n" and name not in _ELSEWHERE:
            _HANDLERS.get(name, _Request.refused)(request, name, raw)
    return request.done()


_ELSEWHERE = frozenset(FIELDS.without_effect) | {"model", "messages", "tools", "tool_choice"}
_ELSEWHERE |= {"parallel_tool_calls"}


class _Request:
    """The request in the making."""

    def __init__(self, call: Call, target: TranslationTarget) -> None:
        self.call = call
        self.quirks = target.quirks
        self.refusals = FieldRefusals(call, Operation.MESSAGE, target)
        self.out: dict[str, Any] = {}
        #: The effort that becomes a budget of thinking; empty: none does.
        self.budgeted = ""

    def done(self) -> Translated:
        reader = ChatMessagesReader(self.quirks, self.refusals)
        for number, raw in enumerate(list_of(self.call.fields["messages"], "messages")):
            reader.add(raw, f"messages.{number}")
        if reader.system:
            self.out["system"] = reader.system
        self.out["messages"] = reader.messages
        self._tools()
        if self.budgeted and "thinking" not in self.out:
            self._think()
        out = self.out.items()
        fields = {name: value if isinstance(value, Raw) else encoded(value) for name, value in out}
        fillers = (
            {} if "max_tokens" in fields else {"max_tokens": encoded(self.quirks.max_output_tokens or LENGTH)}
        )
        created = self.call.started_ns // 1_000_000_000
        rewriter = ChatRewriter(self.call.asked_model, created, with_usage=self._wants_usage())
        return Translated(fields, rewriter, fillers, tuple(self.refusals.left_out))

    def _wants_usage(self) -> bool:
        raw = self.call.fields.get("stream_options", NULL)
        options = {} if first(raw) == b"n" else object_of(raw, "stream_options")
        self.refusals.beyond(options, {"include_usage", "include_obfuscation"}, "stream_options")
        return options.get("include_usage") == Raw(b"true")

    # ------------------------------------------------------------------ fields of one value

    def same(self, name: str, raw: msgspec.Raw) -> None:
        self.out[name] = raw

    def refused(self, name: str, raw: msgspec.Raw) -> None:
        value = bytes(memoryview(raw)[:16]).strip()
        if value not in _NOTHING and value not in _NEUTRAL.get(name, ()):
            self.refusals.refuse(name)

    def length(self, name: str, raw: msgspec.Raw) -> None:
        wanted, most = number_of(raw), self.quirks.max_output_tokens
        if "max_tokens" in self.out and name == "max_tokens":
            return  # the newer name counts
        self.out["max_tokens"] = encoded(most) if wanted is not None and most and wanted > most else raw

    def sampling(self, name: str, raw: msgspec.Raw) -> None:
        if number_of(raw) == 1:
            return
        value = float(bytes(memoryview(raw)[:32])) if first(raw) in b"0123456789" else -1.0
        if self.quirks.sampling and 0 <= value <= 1:
            self.out[name] = raw
        else:
            hint = "" if self.quirks.sampling else "'sampling = true' there sends it."
            self.refusals.refuse(name, hint or "It takes 0 to 1.")

    def stop(self, name: str, raw: msgspec.Raw) -> None:
        texts = [raw] if is_text(raw) else list_of(raw, name)
        stops = [text for text in texts if text_of(text, name).strip()]
        if stops:
            self.out["stop_sequences"] = stops

    def modalities(self, name: str, raw: msgspec.Raw) -> None:
        if any(text_of(item, name) != "text" for item in list_of(raw, name)):
            self.refusals.refuse(name, "Answers are text.")

    def user(self, name: str, raw: msgspec.Raw) -> None:
        self.out["metadata"] = {"user_id": raw}

    def effort(self, name: str, raw: msgspec.Raw) -> None:
        effort = text_of(raw, name)
        if effort == "none":
            self.out.setdefault("thinking", {"type": "disabled"})
        elif self.quirks.effort is Effort.BUDGET:
            if effort not in BUDGETS:
                raise self.refusals.error(name, f"It is none, {', '.join(BUDGETS)}.")
            self.budgeted = effort
        else:
            self.out.setdefault("output_config", {})["effort"] = _EFFORTS.get(effort, effort)

    def _think(self) -> None:
        """Add a budget of thinking, if the API takes one with this request."""
        limit = number_of(self.out.get("max_tokens", encoded(self.quirks.max_output_tokens or LENGTH)))
        budget = budget_of(self.budgeted, limit or 0)
        if budget and may_think(self.out["messages"], self.out.get("tool_choice", {})):
            self.out["thinking"] = {"type": "enabled", "budget_tokens": budget}
        else:
            self.refusals.drop("reasoning_effort")

    def format(self, name: str, raw: msgspec.Raw) -> None:
        wanted = object_of(raw, name)
        self.refusals.beyond(wanted, {"type", "json_schema"}, name)
        kind = text_of(wanted.get("type"), f"{name}.type")
        if kind == "json_schema":
            form = object_of(wanted.get("json_schema", Raw(b"{}")), f"{name}.json_schema")
            self.refusals.beyond(form, {"name", "description", "schema", "strict"}, f"{name}.json_schema")
            form = {"type": encoded("json_schema"), "schema": form.get("schema", _NO_PARAMETERS)}
            self.out.setdefault("output_config", {})["format"] = form
        elif kind != "text":
            self.refusals.refuse(name, "Use the type json_schema.")

    # ------------------------------------------------------------------ tools

    def _tools(self) -> None:
        raw = self.call.fields.get("tools", NULL)
        items = [] if first(raw) == b"n" else list_of(raw, "tools")
        tools = [self._tool(object_of(item, f"tools.{at}"), f"tools.{at}") for at, item in enumerate(items)]
        kept = [tool for tool in tools if tool is not None]
        if not kept:
            return
        self.out["tools"] = kept
        choice = self._choice(self.call.fields.get("tool_choice", NULL))
        if self.call.fields.get("parallel_tool_calls") == Raw(b"false"):
            choice = {"type": "auto", **(choice or {}), "disable_parallel_tool_use": True}
        if choice:
            self.out["tool_choice"] = choice

    def _tool(self, tool: dict[str, msgspec.Raw], path: str) -> dict[str, Any] | None:
        if text_of(tool.get("type", EMPTY), f"{path}.type") != "function":
            self.refusals.refuse(path, "Only functions are translated.")
            return None
        function = object_of(tool.get("function", NULL), f"{path}.function")
        self.refusals.beyond(tool, {"type", "function", "cache_control"}, path)
        self.refusals.beyond(function, _FUNCTION, f"{path}.function")
        if not is_name(text_of(function.get("name"), f"{path}.function.name")):
            raise self.refusals.error(f"{path}.function.name", "Names have letters, digits, _ and -.")
        schema = function.get("parameters", _NO_PARAMETERS)
        out: dict[str, Any] = {"name": function["name"], "input_schema": schema}
        kept = [name for name in ("description", "strict") if name in function]
        out |= {name: function[name] for name in kept}
        return out | ({"cache_control": tool["cache_control"]} if "cache_control" in tool else {})

    def _choice(self, raw: msgspec.Raw) -> dict[str, Any] | None:
        if first(raw) == b"n":
            return None
        if is_text(raw):
            names = {"auto": "auto", "required": "any", "none": "none"}
            word = text_of(raw, "tool_choice")
            if word in names:
                return {"type": names[word]}
            raise self.refusals.error("tool_choice", "It is auto, required, none or a function.")
        choice = object_of(raw, "tool_choice")
        if "function" not in choice:
            self.refusals.refuse("tool_choice")
            return None
        self.refusals.beyond(choice, {"type", "function"}, "tool_choice")
        name = object_of(choice["function"], "tool_choice.function").get("name", EMPTY)
        return {"type": "tool", "name": name}


_HANDLERS: dict[str, Callable[[_Request, str, msgspec.Raw], None]] = {
    "stream": _Request.same,
    "thinking": _Request.same,
    "top_k": _Request.same,
    "max_completion_tokens": _Request.length,
    "max_tokens": _Request.length,
    "temperature": _Request.sampling,
    "top_p": _Request.sampling,
    "stop": _Request.stop,
    "modalities": _Request.modalities,
    "user": _Request.user,
    "safety_identifier": _Request.user,
    "reasoning_effort": _Request.effort,
    "response_format": _Request.format,
}

CHAT_TO_MESSAGES = Translation(Operation.CHAT, Operation.MESSAGE, translated, FIELDS, worded_for_chat)
