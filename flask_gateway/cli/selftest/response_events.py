"""Parses answers of the Responses API strictly and records every flaw of their form."""

from __future__ import annotations

from typing import Any

from ...dialects.sse import EventSplitter
from .heard import ERROR_FIELDS, Heard, named_event

#: The last event of an answer.
_LAST = ("response.completed", "response.incomplete")


def hear_response_stream(heard: Heard, body: bytes) -> None:
    splitter, numbers = EventSplitter(), []
    events = splitter.feed(body)
    if splitter.rest().strip():
        heard.flaws.append("an unfinished event")
    identities: set[str] = set()
    for event in events:
        if event.startswith(b":"):
            continue  # a keep-alive comment
        fields = named_event(heard, event)
        if fields is not None:
            numbers.append(fields.get("sequence_number"))
            _hear_event(heard, fields, identities)
    if numbers != list(range(len(numbers))):
        heard.flaws.append("sequence numbers with a gap")
    if len(identities) > 1:
        heard.flaws.append(f"one stream with {len(identities)} ids")
    if heard.error is None and not heard.done:
        heard.flaws.append("a stream that ends without response.completed and without an error")


def _hear_event(heard: Heard, fields: dict[str, Any], identities: set[str]) -> None:
    kind, response = fields["type"], fields.get("response")
    if heard.done or (heard.error is not None and kind != "error"):
        heard.flaws.append("an event after the end" if heard.done else "an event after the error")
    if isinstance(response, dict):
        identities.add(str(response.get("id")))
        heard.model = heard.model or response.get("model")
    if kind == "response.output_text.delta":
        heard.text += fields["delta"]
    elif kind == "response.failed":
        heard.error = {**fields["response"]["error"], "type": "", "param": None}
    elif kind == "error":
        heard.error = fields["error"]
        _check_error(heard)
    elif kind in _LAST:
        _hear_end(heard, fields["response"])


def _hear_end(heard: Heard, response: dict[str, Any]) -> None:
    heard.done = True
    heard.finish = "stop" if response.get("status") == "completed" else str(response.get("status"))
    heard.usage = _usage(response.get("usage"))
    if _text(response) != heard.text:
        heard.flaws.append("an output that differs from its deltas")


def hear_response_body(heard: Heard, fields: dict[str, Any]) -> None:
    error = fields.get("error")
    if error is not None:
        heard.error = error if isinstance(error, dict) else {"message": str(error)}
        _check_error(heard)
        return
    heard.model, heard.text = fields.get("model"), _text(fields)
    _hear_end(heard, fields)


def _check_error(heard: Heard) -> None:
    error = heard.error or {}
    if not (error.keys() >= ERROR_FIELDS and error["message"]):
        heard.flaws.append("an error that is not in OpenAI's envelope")


def _usage(usage: Any) -> dict[str, Any] | None:
    """The usage in the words of chat."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("input_tokens"), usage.get("output_tokens")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": usage.get("total_tokens"),
    }


def _text(response: dict[str, Any]) -> str:
    parts = [part for item in response.get("output") or [] for part in item.get("content") or []]
    return "".join(part.get("text", "") for part in parts if part.get("type") == "output_text")
