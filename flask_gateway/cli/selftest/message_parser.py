"""Parses answers of Anthropic's Messages API strictly and records every flaw of their form."""

from __future__ import annotations

from typing import Any

import msgspec

from ...dialects.sse import EventSplitter
from .heard import Heard, named_event

#: The fields of an error object that Anthropic's SDKs read.
_ERROR_FIELDS = frozenset({"type", "message"})


def hear_message_stream(heard: Heard, body: bytes) -> None:
    splitter, state = EventSplitter(), _Blocks()
    events = splitter.feed(body)
    if splitter.rest().strip():
        heard.flaws.append("an unfinished event")
    for event in events:
        fields = named_event(heard, event)
        if fields is not None and fields["type"] != "ping":
            _hear_event(heard, fields, state)
    if heard.error is None and not heard.done:
        heard.flaws.append("a stream that ends without message_stop and without an error")
    if heard.error is None and state.open is not None:
        heard.flaws.append("a block without its stop")


class _Blocks(msgspec.Struct):
    """The blocks so far: the index of the open one, and how many have begun."""

    open: int | None = None
    begun: int = 0


def _hear_event(heard: Heard, fields: dict[str, Any], blocks: _Blocks) -> None:
    kind = fields["type"]
    if heard.done or heard.error is not None:
        heard.flaws.append("an event after the end" if heard.done else "an event after the error")
    if (kind == "message_start") != (heard.model is None) and kind != "error":
        heard.flaws.append("a message that does not begin once")
    if kind == "message_start":
        heard.model = fields["message"]["model"]
        heard.usage = _usage(fields["message"].get("usage"))
    elif kind == "error":
        heard.error = _error(heard, fields)
    elif kind == "message_delta":
        _hear_stop(heard, fields["delta"].get("stop_reason"))
    elif kind == "message_stop":
        heard.done = True
        if heard.finish is None:
            heard.flaws.append("an end without a stop reason")
    elif kind.startswith("content_block_"):
        _hear_block(heard, fields, blocks)


def _hear_block(heard: Heard, fields: dict[str, Any], blocks: _Blocks) -> None:
    kind, index = fields["type"], fields["index"]
    if kind == "content_block_start":
        if blocks.open is not None or index != blocks.begun:
            heard.flaws.append("a block out of order")
        blocks.open, blocks.begun = index, blocks.begun + 1
    elif index != blocks.open:
        heard.flaws.append("a part of a block that is not open")
    elif kind == "content_block_stop":
        blocks.open = None
    else:
        heard.text += fields["delta"].get("text", "")


def hear_message_body(heard: Heard, fields: dict[str, Any]) -> None:
    if fields.get("type") == "error":
        heard.error = _error(heard, fields)
        return
    heard.model, heard.usage = fields.get("model"), _usage(fields.get("usage"))
    heard.text = "".join(block.get("text", "") for block in fields.get("content") or [])
    _hear_stop(heard, fields.get("stop_reason"))
    heard.done = heard.finish is not None


def _hear_stop(heard: Heard, reason: Any) -> None:
    heard.finish = "stop" if reason == "end_turn" else reason


def _error(heard: Heard, fields: dict[str, Any]) -> dict[str, Any]:
    error = fields.get("error")
    if not (isinstance(error, dict) and error.keys() >= _ERROR_FIELDS and error["message"]):
        heard.flaws.append("an error that is not in Anthropic's envelope")
    return error if isinstance(error, dict) else {"message": str(error)}


def _usage(usage: Any) -> dict[str, Any] | None:
    """The usage in the words of chat."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("input_tokens") or 0, usage.get("output_tokens") or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
