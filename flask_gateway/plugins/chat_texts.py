"""Finds the texts of chat and of completions: of each choice its content, reasoning, refusal and tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .inspections import Inspections
from .texts import Document, Swaps, number, objects

#: Fields that name something, or hold no text.
_SILENT = frozenset(
    {"id", "index", "role", "type", "name", "data", "url", "b64_json", "signature", "format"}
    | {"encrypted_content"}
)
#: The last word of a channel, by the field that its text is in.
_KINDS = {
    "content": "content",
    "text": "content",
    "refusal": "refusal",
    "arguments": "arguments",
    "reasoning": "reasoning",
    "reasoning_content": "reasoning",
    "reasoning_details": "reasoning",
    "thinking": "reasoning",
}
#: How deep texts lie, at most.
_DEEPEST = 8


class _Place(NamedTuple):
    """Where a channel was in the event that carried it last.

    :param path: from the choice to the text: names of fields, and for an item of a list what tells it apart.
    """

    choice: int
    path: tuple[str | tuple[tuple[str, Any], ...], ...]


class ChatTexts(Swaps):
    """The texts of one answer (``texts.AnswerTexts``)."""

    def __init__(self, inspections: Inspections) -> None:
        super().__init__(inspections)
        #: The open channels.
        self._open: dict[str, _Place] = {}
        #: The texts of this document: where to append what was held back.
        self._slots: dict[str, tuple[Document, str]] = {}
        self._shape: Document = {}

    def event(self, document: Document) -> list[Document]:
        self._read(document)
        before: list[Document] = []
        for choice in objects(document.get("choices")):
            if choice.get("finish_reason") is not None:
                before += self._end(number(choice.get("index")))
        return before

    def rest(self) -> list[Document]:
        self._slots.clear()
        choices = {place.choice for place in self._open.values()}
        return [event for choice in sorted(choices) for event in self._end(choice)]

    def body(self, document: Document) -> None:
        self._read(document)
        for choice in {place.choice for place in self._open.values()}:
            self._end(choice)

    def _read(self, document: Document) -> None:
        self.changed = False
        self._slots.clear()
        for place, choice in enumerate(objects(document.get("choices"))):
            index = number(choice.get("index"), place)
            self.hide(choice, "logprobs")
            for name in ("delta", "message"):
                if isinstance(choice.get(name), dict):
                    self._fields(choice[name], index, (name,))
            self._text(choice, "text", index, ("text",))
        if document.get("choices"):
            self._shape = {name: document[name] for name in document if name not in ("choices", "usage")}

    def _fields(self, holder: Document, choice: int, path: tuple[Any, ...]) -> None:
        if len(path) > _DEEPEST:
            return
        for name in [name for name in holder if name not in _SILENT]:
            value = holder[name]
            if isinstance(value, str):
                self._text(holder, name, choice, (*path, name))
            elif isinstance(value, dict):
                self._fields(value, choice, (*path, name))
            elif isinstance(value, list):
                for place, item in enumerate(objects(value)):
                    self._fields(item, choice, (*path, name, _apart(name, item, place)))

    def _text(self, holder: Document, key: str, choice: int, path: tuple[Any, ...]) -> None:
        channel = f"choice {choice} {' '.join(_words(path))}"
        if self.delta(holder, key, channel):
            self._open[channel] = _Place(choice, path)
            self._slots[channel] = holder, key

    def _end(self, choice: int) -> list[Document]:
        """End the channels of a choice. Return the events that carry what was held back and has no slot."""
        events = []
        for channel in [channel for channel, place in self._open.items() if place.choice == choice]:
            path = self._open.pop(channel).path
            tail = self.inspections.end(channel)
            if not tail:
                continue
            if channel in self._slots:
                holder, key = self._slots[channel]
                self.put(holder, key, holder[key] + tail)
                continue
            built = {**_built(path, tail), "index": choice, "finish_reason": None}
            events.append({**self._shape, "choices": [built]})
        return events


def _apart(name: str, item: Document, place: int) -> tuple[tuple[str, Any], ...]:
    """The fields that tell an item of a list apart. Tools of an answer in one piece have no index."""
    named = {key: item[key] for key in ("index", "type") if key in item}
    if name == "tool_calls":
        named.setdefault("index", place)
    return tuple(named.items())


def _words(path: tuple[Any, ...]) -> Iterator[str]:
    """The words of a channel within its choice, such as ``tool 1 arguments``."""
    names = [part for part in path[1:] if isinstance(part, str)] or ["content"]
    indexes = [str(dict(part).get("index", "")) for part in path if not isinstance(part, str)]
    kind = _KINDS.get(names[-1], "text")
    if any(_KINDS.get(name) == "reasoning" for name in names):
        kind = "reasoning"
    if names[0] in ("tool_calls", "function_call"):
        yield from ("tool", indexes[0] if indexes else "0")
        names = ["arguments"] if names[-1] == "arguments" else names[1:]
    elif names not in (["content"], ["content", "text"]):
        yield from (name for name in names if name != kind)
        yield from filter(None, indexes)
    yield kind


def _built(path: tuple[Any, ...], text: str) -> Document:
    """The choice of an event whose only text is at the end of the path."""
    value: Any = text
    for part in reversed(path):
        value = {part: value} if isinstance(part, str) else [{**dict(part), **value}]
    built: Document = value
    return built
