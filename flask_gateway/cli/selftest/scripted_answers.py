"""Writes the answers of scripted upstreams: a completion, or the events of its stream.

The providers of ``selftest``, the tests' upstream (``tests/kit/behaviours.py``) and the benchmark's upstream
(``bench/load/upstream.py``) send what this module writes. Uses the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

#: The last event of a stream.
DONE = b"data: [DONE]\n\n"


def event(data: Any, kind: str = "") -> bytes:
    """An event of a stream. :param data: text as it is, or a value to be written as JSON."""
    named = f"event: {kind}\n" if kind else ""
    return f"{named}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


class ScriptedAnswer(NamedTuple):
    """The fields that all parts of one answer repeat."""

    identity: str
    model: str
    created: int = 1

    def envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.identity,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def body(self, text: str, usage: Mapping[str, int]) -> bytes:
        """A completion in one piece."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps(self.envelope("chat.completion", [choice]) | {"usage": dict(usage)}).encode()

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
        """An event of a stream. :param more: further fields at its top level."""
        choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
        return event(self.envelope("chat.completion.chunk", [choice]) | more)

    def beginning(self, tokens: Iterable[str]) -> list[bytes]:
        """A role, and one event for each token."""
        opening = self.chunk({"role": "assistant", "content": ""})
        return [opening, *(self.chunk({"content": token}) for token in tokens)]

    def events(self, tokens: Iterable[str], usage: Mapping[str, int] | None = None) -> list[bytes]:
        """All events of a stream: tokens, finish reason, usage if there is some, and ``[DONE]``."""
        return [*self.beginning(tokens), *self.ending(usage)]

    def ending(self, usage: Mapping[str, int] | None = None) -> list[bytes]:
        """The events behind the tokens."""
        events = [self.chunk({}, "stop")]
        if usage is not None:
            events.append(event(self.envelope("chat.completion.chunk", []) | {"usage": dict(usage)}))
        return [*events, DONE]


def wants_usage(request: Mapping[str, Any]) -> bool:
    """Whether a request asks for an event with the usage. :param request: its body."""
    return bool((request.get("stream_options") or {}).get("include_usage"))
