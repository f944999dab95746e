"""Translates the body of a Responses request into the body of a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ....model.quirks import Effort, Quirks
from .fields import MAPPED, PASSED, REFUSED, STATE, WITHOUT_EFFECT
from .items import ChatMessages
from .raw import Raw, is_null, list_of, object_of, text_of, value_of
from .refusals import Refusals
from .tools import ToolNames, read_choice, read_tools

#: Fields that keep their name.
_SAME = ("stream", "temperature", "top_p", "user")
#: Fields that only OpenAI's own servers are known to take.
_OPENAI_ONLY = ("prompt_cache_key", "safety_identifier")
#: Refused fields, with the test of the values that are accepted.
_WHAT = {
    "previous_response_id": "stored responses",
    "conversation": "stored conversations",
    "prompt": "stored prompts",
    "background": "answers in the background",
    "store": "stored answers",
    "context_management": "compaction",
    "top_logprobs": "log probabilities in the form of the Responses API",
    "moderation": "moderation of its answers",
}


class ChatRequest(NamedTuple):
    """A translated request.

    :param fields: the body, without ``model``. :param tools: for the way back.
    :param left_out: what was left out.
    """

    fields: dict[str, Any]
    tools: ToolNames
    left_out: list[str]


def chat_request(fields: Mapping[str, Raw], quirks: Quirks, refusals: Refusals) -> ChatRequest:
    """Translate a body.

    :raises UnsupportedField: chat cannot carry a field. :raises InvalidField: a field has the wrong shape.
    """
    _refuse(fields, refusals)
    messages = ChatMessages(refusals, quirks)
    messages.add_instructions(fields.get("instructions"))
    messages.add_input(fields.get("input"))
    body: dict[str, Any] = {"messages": messages.done()}
    body |= {name: fields[name] for name in _SAME if not is_null(fields.get(name))}
    body |= {name: value for name, value in fields.items() if name in PASSED}
    tools = _add_tools(body, fields, quirks, refusals)
    _add_length(body, fields.get("max_output_tokens"), quirks)
    _add_text(body, object_of(fields.get("text")) or {}, quirks, refusals)
    _add_effort(body, object_of(fields.get("reasoning")) or {}, quirks)
    if quirks.openai_fields:
        body |= {name: fields[name] for name in _OPENAI_ONLY if not is_null(fields.get(name))}
    return ChatRequest(body, tools, refusals.left_out)


def _add_length(body: dict[str, Any], wanted: Raw | None, quirks: Quirks) -> None:
    if not is_null(wanted):
        most, tokens = quirks.max_output_tokens, value_of(wanted)
        capped = most and isinstance(tokens, int) and tokens > most
        body[quirks.max_tokens_field] = most if capped else wanted


def _add_effort(body: dict[str, Any], reasoning: dict[str, Raw], quirks: Quirks) -> None:
    effort = reasoning.get("effort")
    if is_null(effort) or quirks.effort is Effort.NONE:
        return
    if quirks.effort is Effort.TEMPLATE:
        body.setdefault("chat_template_kwargs", {"enable_thinking": text_of(effort) != "none"})
    else:
        body["reasoning_effort"] = effort


def _add_tools(
    body: dict[str, Any], fields: Mapping[str, Raw], quirks: Quirks, refusals: Refusals
) -> ToolNames:
    """Add tools and the choice among them. Servers refuse a choice without tools."""
    tools = read_tools(fields.get("tools"), refusals)
    choice = read_choice(fields.get("tool_choice"), tools, refusals)
    if tools.functions:
        body["tools"] = list(tools.functions.values())
        if choice is not None:
            body["tool_choice"] = choice
        if quirks.parallel_tools and not is_null(fields.get("parallel_tool_calls")):
            body["parallel_tool_calls"] = fields["parallel_tool_calls"]
    return tools


def _add_text(body: dict[str, Any], text: dict[str, Raw], quirks: Quirks, refusals: Refusals) -> None:
    """Add the form of the answer."""
    form = object_of(text.get("format")) or {}
    kind = text_of(form.get("type"))
    if kind == "json_schema" and quirks.json_schema:
        schema = {name: value for name, value in form.items() if name != "type" and not is_null(value)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif kind not in ("", "text"):
        refusals.leave_out("text.format", f"answers in the format '{kind}'")
    if is_null(text.get("verbosity")):
        return
    if quirks.openai_fields:
        body["verbosity"] = text["verbosity"]
    else:
        refusals.note("text.verbosity")


def _refuse(fields: Mapping[str, Raw], refusals: Refusals) -> None:
    """Refuse the fields that chat cannot carry."""
    for name, raw in fields.items():
        if name in MAPPED or name in WITHOUT_EFFECT or name in PASSED or is_null(raw):
            continue
        if name == "include":
            _refuse_include(raw, refusals)
        elif name not in REFUSED:
            refusals.leave_out(name, "field of that name")
        elif value_of(raw) or name == "prompt":
            what = _WHAT[name]
            if name in STATE:
                raise refusals.refuse(name, what)
            refusals.leave_out(name, what)


def _refuse_include(raw: Raw, refusals: Refusals) -> None:
    for number, value in enumerate(list_of(raw) or []):
        if (name := text_of(value)) != "reasoning.encrypted_content":
            refusals.leave_out(f"include.{number}", f"'{name}'")
