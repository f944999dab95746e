"""Writes a mock's chat and text completions in the bytes of the OpenAI API.

An answer is a sequence of :class:`Frame`, which ``upstream.py`` sends at its rate. The only time in it is the
``created`` stamp. A field of a request with the wrong type counts as missing.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from ...dialects.usage import Tally, estimate
from ...model.call import Call, Operation
from .schema import example

#: Repeated up to the length that the mock's URL asks for.
PHRASE = ("The ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "lazy ", "dog. ")
ECHO_LIMIT = 200
#: Longer fields, bytes, are not decoded, since decoding them would delay other calls.
MAX_READ = 256 * 1024


class Frame(msgspec.Struct, frozen=True):
    """Bytes that are sent at once, and the number of tokens in them."""

    data: bytes
    tokens: int = 0


class Speech(msgspec.Struct, frozen=True):
    """The content of one answer, before a dialect encodes it."""

    call: Call
    key: str
    created: int
    pieces: tuple[str, ...]
    prompt_tokens: int
    cut_short: bool
    #: The function that is called, and its arguments as JSON.
    tool: str | None
    arguments: str = "{}"

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def completion_tokens(self) -> int:
        return 1 if self.tool else len(self.pieces)

    @property
    def finish_reason(self) -> str:
        if self.tool:
            return "tool_calls"
        return "length" if self.cut_short else "stop"

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


# ---------------------------------------------------------------- reading the request


def texts(value: Any, depth: int = 8) -> Iterator[str]:
    """Yield the strings of a prompt, of messages, or of content parts. Requests do not nest them deeper."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and depth:
        yield from texts(value.get("content") or value.get("text"), depth - 1)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from texts(item, depth - 1)


def tokens_of(*raws: msgspec.Raw) -> int:
    """Estimate the tokens of a prompt, as the gateway does for upstreams that report none; at least one."""
    return max(1, sum(estimate({"prompt": raw}, Tally()).prompt_tokens for raw in raws))


def last_user_text(value: Any) -> str:
    """Return the last user message of a list of messages, or a plain prompt as a whole."""
    if isinstance(value, list):
        spoken = [item for item in value if isinstance(item, dict) and item.get("role") == "user"]
        value = spoken[-1:] or [item for item in value if isinstance(item, str)]
    return " ".join(texts(value))


def compose(call: Call, name: str, tokens: int | None) -> Speech:
    """Compose the content of an answer.

    :param name: the upstream's, so that an answer shows which upstream sent it.
    :param tokens: the length of the answer; ``None`` to repeat the user's text.
    """
    named = next((key for key in ("messages", "prompt", "input") if key in call.fields), None)
    prompt = None if named is None else call.decoded(named, MAX_READ)
    shape = _shape(call)
    if shape is not None:
        pieces = re.findall("(?s).{1,8}", msgspec.json.encode(shape).decode())
    elif tokens is None:
        heard = last_user_text(prompt)[:ECHO_LIMIT]
        pieces = re.findall(r"\s*\S+", f'Mock answer from {name}: you said "{heard}"')
    else:
        pieces = [PHRASE[index % len(PHRASE)] for index in range(tokens)]
    limit = _token_limit(call)
    tool, arguments = _tool_to_call(call, prompt) or (None, {})
    return Speech(
        call=call,
        key=secrets.token_hex(12),
        created=int(time.time()),
        pieces=tuple(pieces[:limit]),
        prompt_tokens=tokens_of(*(() if named is None else (call.fields[named],))),
        cut_short=limit is not None and limit < len(pieces),
        tool=tool,
        arguments=msgspec.json.encode(arguments).decode(),
    )


def _shape(call: Call) -> Any:
    """Return the answer to a request for JSON; ``None`` when the request is for text."""
    if call.operation is Operation.RESPONSE:
        wanted = _of(call.decoded("text", MAX_READ), "format")
        schema = _of(wanted, "schema")
    else:
        wanted = call.decoded("response_format", MAX_READ)
        schema = _of(_of(wanted, "json_schema"), "schema")
    kind = _of(wanted, "type")
    if kind == "json_schema":
        return example(schema)
    return {"answer": "mock"} if kind == "json_object" else None


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _token_limit(call: Call) -> int | None:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        limit = call.decoded(name, MAX_READ)
        if isinstance(limit, int) and not isinstance(limit, bool):
            return max(1, limit)
    return None


_NO_PARAMETERS = {"type": "object"}


def _tool_to_call(call: Call, prompt: Any) -> tuple[str, Any] | None:
    """Return the function that the caller chooses, or else the first one, with generated arguments.

    ``None`` when the model should not call a function now.
    """
    tools, choice = call.decoded("tools", MAX_READ), call.decoded("tool_choice", MAX_READ)
    if call.operation not in (Operation.CHAT, Operation.RESPONSE) or not isinstance(tools, list):
        return None
    if choice == "none" or not _is_users_turn(call, prompt):
        return None
    # In the Responses API the function stands in the tool itself.
    inside = call.operation is Operation.CHAT
    offered = [_of(tool, "function") if inside else tool for tool in tools if _of(tool, "type") == "function"]
    named = _of(_of(choice, "function") if inside else choice, "name")
    for function in offered:
        name = _of(function, "name")
        if isinstance(name, str) and named in (None, name):
            parameters = _of(function, "parameters")
            return name, example(
                parameters if isinstance(parameters, dict) and parameters else _NO_PARAMETERS
            )
    return None


def _is_users_turn(call: Call, prompt: Any) -> bool:
    if call.operation is Operation.RESPONSE and isinstance(prompt, str):
        return True
    return isinstance(prompt, list) and bool(prompt) and _of(prompt[-1], "role") == "user"


# ---------------------------------------------------------------- chat completions


def chat(speech: Speech) -> Iterator[Frame]:
    message: dict[str, Any] = {"role": "assistant", "content": speech.text, "refusal": None}
    if speech.tool:
        message |= {"content": None, "tool_calls": [_tool_call(speech, speech.arguments)]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": speech.finish_reason}
    yield body(speech, _completion(speech, "chat.completion", [choice]) | {"usage": speech.usage})


def chat_stream(speech: Speech) -> Iterator[Frame]:
    for delta, tokens in _deltas(speech):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield _chunk(speech, "chat.completion.chunk", [choice], tokens)
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": speech.finish_reason}
    yield _chunk(speech, "chat.completion.chunk", [last])
    yield from _closing(speech, "chat.completion.chunk")


def _deltas(speech: Speech) -> Iterator[tuple[dict[str, Any], int]]:
    if speech.tool:
        opening = {"index": 0, **_tool_call(speech, "")}
        yield {"role": "assistant", "content": None, "tool_calls": [opening]}, 0
        yield {"tool_calls": [{"index": 0, "function": {"arguments": speech.arguments}}]}, 1
        return
    yield {"role": "assistant", "content": "", "refusal": None}, 0
    for piece in speech.pieces:
        yield {"content": piece}, 1


def _tool_call(speech: Speech, arguments: str) -> dict[str, Any]:
    function = {"name": speech.tool, "arguments": arguments}
    return {"id": f"call_{speech.key}", "type": "function", "function": function}


# ---------------------------------------------------------------- completions


def completion(speech: Speech) -> Iterator[Frame]:
    choices = [_text_choice(speech.text, speech.finish_reason)]
    yield body(speech, _completion(speech, "text_completion", choices) | {"usage": speech.usage})


def completion_stream(speech: Speech) -> Iterator[Frame]:
    for piece in speech.pieces:
        yield _chunk(speech, "text_completion", [_text_choice(piece, None)], 1)
    yield _chunk(speech, "text_completion", [_text_choice("", speech.finish_reason)])
    yield from _closing(speech, "text_completion")


def _text_choice(text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}


# ---------------------------------------------------------------- shared by both


def _completion(speech: Speech, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    prefix = "cmpl" if kind == "text_completion" else "chatcmpl"
    return {
        "id": f"{prefix}-{speech.key}",
        "object": kind,
        "created": speech.created,
        "model": speech.call.model,
        "choices": choices,
    }


def _chunk(speech: Speech, kind: str, choices: list[dict[str, Any]], tokens: int = 0) -> Frame:
    usage = {"usage": None} if _usage_wanted(speech.call) else {}
    return Frame(b"data: %b\n\n" % msgspec.json.encode(_completion(speech, kind, choices) | usage), tokens)


def _closing(speech: Speech, kind: str) -> Iterator[Frame]:
    if _usage_wanted(speech.call):
        last = _completion(speech, kind, []) | {"usage": speech.usage}
        yield Frame(b"data: %b\n\n" % msgspec.json.encode(last))
    yield Frame(b"data: [DONE]\n\n")


def _usage_wanted(call: Call) -> bool:
    options = call.decoded("stream_options", MAX_READ)
    return isinstance(options, dict) and options.get("include_usage") is True


def body(speech: Speech, answer: dict[str, Any]) -> Frame:
    """Return an answer that is not streamed: all of its tokens in one frame."""
    return Frame(msgspec.json.encode(answer), speech.completion_tokens)
