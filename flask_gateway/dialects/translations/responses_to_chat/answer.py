"""Translates a chat answer in one document into a response of the Responses API."""

from __future__ import annotations

from typing import Any

import msgspec

from ....model.call import Usage
from ....model.errors import SEND_AGAIN, UpstreamMalformed
from .custom_input import unpacked
from .deltas import calls_of, content_of, reasoning_of, refusal_of
from .response import (
    ResponseShell,
    call_item,
    encode,
    incomplete_reason,
    message_item,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_part,
)


def response_body(body: bytes, shell: ResponseShell, usage: Usage | None) -> bytes:
    """Translate a chat answer.

    :param body: has been checked: it is a JSON object with ``choices``.
    :raises UpstreamMalformed: it cannot be read.
    """
    try:
        answer: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise UpstreamMalformed(f"The upstream's answer cannot be read. {SEND_AGAIN}") from None
    choices = answer.get("choices")
    choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    choice = choices[0] if choices else {}
    message = choice.get("message")
    finish = choice.get("finish_reason")
    output = _output(message if isinstance(message, dict) else {}, shell, incomplete_reason(finish) is None)
    return encode(shell.ended(finish, output, usage))


def _output(message: dict[str, Any], shell: ResponseShell, whole: bool) -> list[dict[str, Any]]:
    """The items. The last one is incomplete if the answer is."""
    items: list[dict[str, Any]] = []
    if reasoning := reasoning_of(message):
        items.append(reasoning_item(shell.item_id("rs", 0), "completed", [reasoning_part(reasoning)]))
    parts = [text_part(text)] if (text := content_of(message)) else []
    parts += [refusal_part(refusal)] if (refusal := refusal_of(message)) else []
    if parts:
        items.append(message_item(shell.item_id("msg", len(items)), "completed", parts))
    for call in calls_of(message):
        tool, number = shell.tools.tool_of(call.name), len(items)
        call_id = call.id or shell.item_id("call", number)
        arguments = unpacked(call.arguments) if tool.custom else call.arguments
        prefix = "ctc" if tool.custom else "fc"
        items.append(call_item(shell.item_id(prefix, number), "completed", call_id, tool, arguments))
    if items and not whole:
        items[-1]["status"] = "incomplete"
    return items
