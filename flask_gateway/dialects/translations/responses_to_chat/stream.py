"""Translates the events of a chat stream into those of the Responses API, one at a time."""

from __future__ import annotations

from typing import Any

import msgspec

from ....model.call import Usage
from ....model.errors import SEND_AGAIN, UpstreamMalformed
from .deltas import CallPart, calls_of, content_of, reasoning_of, refusal_of
from .output import CallItem, EventNumbers, TextItem
from .response import ResponseShell, incomplete_reason

_decode = msgspec.json.Decoder().decode


class ResponseStream:
    """Writes the events of one answer. One text is open at a time; calls stay open until the end.

    An upstream may send the arguments of two calls in turns, so a call has ended only when all have.
    """

    def __init__(self, shell: ResponseShell) -> None:
        self._shell = shell
        self.numbers = EventNumbers()
        self._begun = False
        #: All items in order, those that have not ended, and the open text.
        self._items: list[TextItem | CallItem] = []
        self._open: dict[int, TextItem | CallItem] = {}
        self._text: TextItem | None = None
        #: Calls by their place in the chat answer, with their ids there.
        self._calls: dict[int, tuple[str, CallItem]] = {}
        #: The first parts of calls whose names have not come.
        self._nameless: dict[int, CallPart] = {}
        self._finish: Any = None

    @property
    def names(self) -> dict[str, Any]:
        """The fields that name the response."""
        return self._shell.names

    def event(self, data: bytes) -> bytes:
        """Translate the data of one event.

        :raises UpstreamMalformed: it cannot be read.
        """
        try:
            chunk = _decode(data)
        except (ValueError, RecursionError):
            raise UpstreamMalformed(f"A part of the upstream's answer cannot be read. {SEND_AGAIN}") from None
        if not isinstance(chunk, dict):
            return b""
        begun = b"" if self._begun else self._begin()
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("index") in (0, None):
                begun += self._choice(choice)
        return begun

    def _begin(self) -> bytes:
        self._begun = True
        response = self._shell.response("in_progress", [])
        event = self.numbers.event
        return event("response.created", response=response) + event("response.in_progress", response=response)

    def _choice(self, choice: dict[str, Any]) -> bytes:
        delta = choice.get("delta") or choice.get("message")
        self._finish = choice.get("finish_reason") or self._finish
        if not isinstance(delta, dict):
            return b""
        events = b""
        if reasoning := reasoning_of(delta):
            events += self._add_text("reasoning_text", reasoning)
        if text := content_of(delta):
            events += self._add_text("output_text", text)
        if refusal := refusal_of(delta):
            events += self._add_text("refusal", refusal)
        if delta.get("tool_calls") or delta.get("function_call"):
            for part in calls_of(delta):
                events += self._add_call(part)
        return events

    def _add_text(self, kind: str, text: str) -> bytes:
        reasoning, opening = kind == "reasoning_text", b""
        item = self._text
        if item is None or item.reasoning is not reasoning:
            opening = self._end_text()
            item = TextItem(self.numbers, self._shell, len(self._items), reasoning=reasoning)
            self._text = item
            opening += self._open_item(item)
        return opening + item.add(kind, text)

    def _open_item(self, item: TextItem | CallItem) -> bytes:
        self._open[len(self._items)] = item
        self._items.append(item)
        return item.begin()

    def _end_text(self) -> bytes:
        item, self._text = self._text, None
        if item is None:
            return b""
        del self._open[item.index]
        return item.end("completed")

    def _add_call(self, part: CallPart) -> bytes:
        known = self._calls.get(part.place)
        if known is not None and (not part.id or part.id == known[0]):
            return known[1].add(part.arguments)
        if earlier := self._nameless.pop(part.place, None):
            part = part._replace(id=part.id or earlier.id, arguments=earlier.arguments + part.arguments)
        if not part.name:
            self._nameless[part.place] = part
            return b""
        tool = self._shell.tools.tool_of(part.name)
        opening = self._end_text()
        item = CallItem(self.numbers, self._shell, len(self._items), part.id, tool)
        self._calls[part.place] = part.id, item
        return opening + self._open_item(item) + item.add(part.arguments)

    def end(self, usage: Usage | None) -> bytes:
        """End the answer.

        :raises UpstreamMalformed: a call has no name.
        """
        if self._nameless:
            raise UpstreamMalformed("The upstream's answer has a tool call without a name.")
        events = b"" if self._begun else self._begin()
        reason = incomplete_reason(self._finish)
        whole = "completed" if reason is None else "incomplete"
        last = self._items[-1] if self._items else None
        for item in self._open.values():
            events += item.end(whole if item is last else "completed")
        output = [item.item(whole if item is last else "completed") for item in self._items]
        response = self._shell.ended(self._finish, output, usage)
        return events + self.numbers.event(f"response.{whole}", response=response)
