"""Writes the events of a Responses stream: numbered, and each item with its beginning and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .custom_input import CustomInput
from .response import (
    ResponseShell,
    call_item,
    encode,
    message_item,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_part,
)
from .tools import Tool


class EventNumbers:
    """Writes events, each with the next ``sequence_number``."""

    def __init__(self) -> None:
        self.next = 0

    def event(self, kind: str, **fields: Any) -> bytes:
        data = encode({"type": kind, "sequence_number": self.next, **fields})
        self.next += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


#: How a part of a text item is called: its events, the field of its text, and the part itself.
_PARTS: Mapping[str, tuple[str, str, Callable[[str], dict[str, Any]], dict[str, Any]]] = {
    "output_text": ("response.output_text", "text", text_part, {"logprobs": []}),
    "refusal": ("response.refusal", "refusal", refusal_part, {}),
    "reasoning_text": ("response.reasoning_text", "text", reasoning_part, {}),
}


class TextItem:
    """A message or reasoning that is being written: an item with one part after the other."""

    def __init__(self, numbers: EventNumbers, shell: ResponseShell, index: int, *, reasoning: bool) -> None:
        self.reasoning = reasoning
        self.index = index
        self._numbers = numbers
        self._id = shell.item_id("rs" if reasoning else "msg", index)
        self._parts: list[dict[str, Any]] = []
        self._kind = ""
        self._texts: list[str] = []

    def begin(self) -> bytes:
        item = self.item("in_progress")
        return self._numbers.event("response.output_item.added", output_index=self.index, item=item)

    def item(self, status: str) -> dict[str, Any]:
        make = reasoning_item if self.reasoning else message_item
        return make(self._id, status, self._parts)

    def add(self, kind: str, text: str) -> bytes:
        """Add text to the part of this kind.

        :param kind: ``output_text``, ``refusal`` or ``reasoning_text``.
        """
        opening = b"" if kind == self._kind else self._end_part() + self._begin_part(kind)
        self._texts.append(text)
        name, _, _, more = _PARTS[kind]
        return opening + self._numbers.event(f"{name}.delta", **self._place, delta=text, **more)

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self.index, "content_index": len(self._parts)}

    def _begin_part(self, kind: str) -> bytes:
        self._kind, self._texts = kind, []
        part = _PARTS[kind][2]("")
        return self._numbers.event("response.content_part.added", **self._place, part=part)

    def _end_part(self) -> bytes:
        if not self._kind:
            return b""
        name, field, make, more = _PARTS[self._kind]
        text, place, self._kind = "".join(self._texts), self._place, ""
        part = make(text)
        self._parts.append(part)
        done = self._numbers.event(f"{name}.done", **place, **{field: text}, **more)
        return done + self._numbers.event("response.content_part.done", **place, part=part)

    def end(self, status: str) -> bytes:
        ending = self._end_part()
        item = self.item(status)
        return ending + self._numbers.event("response.output_item.done", output_index=self.index, item=item)


class CallItem:
    """A tool's call that is being written."""

    def __init__(
        self, numbers: EventNumbers, shell: ResponseShell, index: int, call_id: str, tool: Tool
    ) -> None:
        self.tool = tool
        self._numbers = numbers
        self._index = index
        self._id = shell.item_id("ctc" if tool.custom else "fc", index)
        self._call_id = call_id or shell.item_id("call", index)
        self._texts: list[str] = []
        self._input = CustomInput() if tool.custom else None
        self._events = f"response.{'custom_tool_call_input' if tool.custom else 'function_call_arguments'}"

    def begin(self) -> bytes:
        item = call_item(self._id, "in_progress", self._call_id, self.tool, "")
        return self._numbers.event("response.output_item.added", output_index=self._index, item=item)

    def add(self, arguments: str) -> bytes:
        return self._delta(arguments if self._input is None else self._input.feed(arguments))

    def _delta(self, text: str) -> bytes:
        if not text:
            return b""
        self._texts.append(text)
        return self._numbers.event(f"{self._events}.delta", **self._place, delta=text)

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self._index}

    def item(self, status: str) -> dict[str, Any]:
        return call_item(self._id, status, self._call_id, self.tool, "".join(self._texts))

    def end(self, status: str) -> bytes:
        ending = self._delta(self._input.end()) if self._input is not None else b""
        field = {"input": "".join(self._texts)}
        if not self.tool.custom:
            field = {"name": self.tool.name, "arguments": field["input"]}
        ending += self._numbers.event(f"{self._events}.done", **self._place, **field)
        item = self.item(status)
        return ending + self._numbers.event("response.output_item.done", output_index=self._index, item=item)
