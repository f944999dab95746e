"""Walks the official SDKs' types: each tool, part, choice and format is carried, or refused by its path.

A type or field that a new release of an SDK adds is refused by name, or fails a test here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import pytest
from kit import golden
from kit.sdks import anthropic, openai

from flask_gateway.dialects.translations.chat_to_messages import CHAT_TO_MESSAGES
from flask_gateway.dialects.translations.messages_to_chat import MESSAGES_TO_CHAT
from flask_gateway.model.errors import UnsupportedField

ANSWER = b'{"choices":[],"content":[],"id":"1"}'
#: The path at which a field that no release has yet is added.
NEW = "a_field_of_the_future"
Body = dict[str, Any]
ASKED: Body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
MESSAGE_TOOL = {"name": "x", "input_schema": {}}
CHAT_TOOL = {"type": "function", "function": {"name": "x"}}


def variants(union: Any) -> Iterator[Any]:
    """The typed dictionaries of a union, however nested."""
    if get_origin(union) in (Union, UnionType, Annotated, list, Iterable) or get_args(union):
        for member in get_args(union):
            yield from variants(member)
    elif hasattr(union, "__required_keys__"):
        yield union


def sample(hint: Any) -> Any:
    """A value of a type: the required fields of a dictionary, the first member of a union."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Required, NotRequired, Annotated):
        return sample(args[0])
    if origin is Literal:
        return args[0]
    if origin in (Union, UnionType):
        return sample(next(one for one in args if one is not type(None)))
    if hasattr(hint, "__required_keys__"):
        hints = get_type_hints(hint, include_extras=True)
        required = [name for name, one in hints.items() if get_origin(one) is Required or hint.__total__]
        return {name: sample(hints[name]) for name in required}
    if hint in (bool, int, float):
        return hint(1)
    if hint is str:
        return "x"
    if origin is dict or hint is dict or "Dict" in str(origin) or "Mapping" in str(origin):
        return {}
    return [] if origin is not None else "x"


def in_messages(role: str) -> Callable[[Any], Body]:
    return lambda block: {"messages": [{"role": role, "content": [block]}, *ASKED["messages"]]}


def hosted(value: Body) -> str:
    return str(value.get("type", "the caller's"))


#: By place: the translation, what gives the types there, what makes the body, the path of a refusal, what is
#: carried.
PLACES: dict[str, tuple[Any, Callable[[], Any], Callable[[Any], Body], str, set[str]]] = {
    "messages: tools": (
        MESSAGES_TO_CHAT,
        lambda: anthropic.types.beta.BetaToolUnionParam,
        lambda tool: {"tools": [tool]},
        "tools.0",
        {"the caller's"},
    ),
    "messages: blocks of the user": (
        MESSAGES_TO_CHAT,
        lambda: anthropic.types.beta.BetaContentBlockParam,
        in_messages("user"),
        "messages.0.content.0",
        {"text", "image", "document", "search_result", "tool_result"},
    ),
    "messages: blocks of the assistant": (
        MESSAGES_TO_CHAT,
        lambda: anthropic.types.beta.BetaContentBlockParam,
        in_messages("assistant"),
        "messages.0.content.0",
        {"text", "thinking", "redacted_thinking", "tool_use", "search_result"},
    ),
    "messages: tool_choice": (
        MESSAGES_TO_CHAT,
        lambda: anthropic.types.beta.BetaToolChoiceParam,
        lambda choice: {"tools": [MESSAGE_TOOL], "tool_choice": choice},
        "tool_choice",
        {"auto", "any", "tool", "none"},
    ),
    "messages: thinking": (
        MESSAGES_TO_CHAT,
        lambda: anthropic.types.beta.BetaThinkingConfigParam,
        lambda thinking: {"thinking": thinking},
        "thinking",
        {"enabled", "disabled", "adaptive", "between_tools"},
    ),
    "messages: format": (
        MESSAGES_TO_CHAT,
        lambda: anthropic.types.beta.BetaJSONOutputFormatParam,
        lambda form: {"output_config": {"format": form}},
        "output_config.format",
        {"json_schema"},
    ),
    "chat: parts of the user": (
        CHAT_TO_MESSAGES,
        lambda: openai.types.chat.ChatCompletionContentPartParam,
        in_messages("user"),
        "messages.0.content.0",
        {"text", "image_url", "file"},
    ),
    "chat: parts of the assistant": (
        CHAT_TO_MESSAGES,
        lambda: openai.types.chat.chat_completion_assistant_message_param.ContentArrayOfContentPart,
        in_messages("assistant"),
        "messages.0.content.0",
        {"text", "refusal"},
    ),
    "chat: calls": (
        CHAT_TO_MESSAGES,
        lambda: (
            openai.types.chat.chat_completion_message_tool_call_union_param.ChatCompletionMessageToolCallUnionParam
        ),
        lambda call: {"messages": [{"role": "assistant", "tool_calls": [call]}, *ASKED["messages"]]},
        "messages.0.tool_calls.0",
        {"function"},
    ),
    "chat: tools": (
        CHAT_TO_MESSAGES,
        lambda: openai.types.chat.chat_completion_tool_union_param.ChatCompletionToolUnionParam,
        lambda tool: {"tools": [tool]},
        "tools.0",
        {"function"},
    ),
    "chat: tool_choice": (
        CHAT_TO_MESSAGES,
        lambda: openai.types.chat.ChatCompletionToolChoiceOptionParam,
        lambda choice: {"tools": [CHAT_TOOL], "tool_choice": choice},
        "tool_choice",
        {"function"},
    ),
    "chat: response_format": (
        CHAT_TO_MESSAGES,
        lambda: openai.types.chat.completion_create_params.ResponseFormat,
        lambda form: {"response_format": form},
        "response_format",
        {"text", "json_schema"},
    ),
}
#: Values that have to mean something, by the path of their field.
MEANT = {
    "image_url": {"url": "https://x.test/a.png"},
    "file": {"file_data": "data:application/pdf;base64,aGk="},
    "function": {"name": "x", "arguments": "{}"},
}


def meant(value: Body) -> Body:
    return {
        name: {field: MEANT[name].get(field, inner) for field, inner in (one or MEANT[name]).items()}
        if name in MEANT and isinstance(one, dict)
        else one
        for name, one in value.items()
    }


def refusal(place: str, value: Body) -> UnsupportedField | None:
    """How the translation refuses a value at that place; ``None``: it is carried."""
    translation, _, body, _, _ = PLACES[place]
    try:
        golden.replied({"asked": ASKED | body(value)}, translation, [ANSWER])
    except UnsupportedField as error:
        return error
    return None


@pytest.mark.parametrize("place", PLACES)
def test_each_type_is_carried_or_refused_by_its_path(place: str) -> None:
    _, union, _, path, carried = PLACES[place]
    found = set()
    for variant in variants(union()):
        value = meant(sample(variant))
        error = refusal(place, value)
        if error is None:
            found.add(hosted(value))
        else:
            assert (error.status, error.param, error.upstream) == (400, path, "up"), variant
            assert "'up'" in error.message
            assert "[upstreams.up]" in error.message or hosted(value) not in carried
    assert found == carried


#: A call is sent back with what another provider added to it.
@pytest.mark.parametrize("place", sorted(PLACES.keys() - {"chat: calls"}))
def test_a_field_that_no_release_has_is_refused_by_its_path(place: str) -> None:
    _, union, _, path, carried = PLACES[place]
    for variant in variants(union()):
        value = meant(sample(variant))
        if hosted(value) in carried:
            error = refusal(place, {**value, NEW: 1})
            assert error is not None, variant
            assert error.param == f"{path}.{NEW}"
