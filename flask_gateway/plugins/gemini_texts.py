"""Finds the texts of Google's Gemini API: of each candidate its content, reasoning and arguments."""

from __future__ import annotations

from typing import Any

from .inspections import Inspections
from .texts import Document, Swaps, number, objects


class GeminiTexts(Swaps):
    """The texts of one answer (``texts.AnswerTexts``)."""

    def __init__(self, inspections: Inspections) -> None:
        super().__init__(inspections)
        #: The open channels, each with its candidate and the part that carries its text.
        self._open: dict[str, tuple[int, Document]] = {}
        self._slots: dict[str, Document] = {}
        self._shape: Document = {}
        self._calls = 0

    def event(self, document: Document) -> list[Document]:
        self._read(document)
        events: list[Document] = []
        for place, candidate in enumerate(objects(document.get("candidates"))):
            if candidate.get("finishReason") is not None:
                events += self._end(number(candidate.get("index"), place))
        return events

    def rest(self) -> list[Document]:
        self._slots.clear()
        indexes = {index for index, _ in self._open.values()}
        return [event for index in sorted(indexes) for event in self._end(index)]

    def body(self, document: Document) -> None:
        self._read(document)
        for index in {index for index, _ in self._open.values()}:
            self._end(index)

    def _read(self, document: Document) -> None:
        self.changed = False
        self._slots.clear()
        names = ("candidates", "usageMetadata")
        self._shape = {name: document[name] for name in document if name not in names}
        for place, candidate in enumerate(objects(document.get("candidates"))):
            index, content = number(candidate.get("index"), place), candidate.get("content")
            self.hide(candidate, "logprobsResult")
            for part in objects(content.get("parts")) if isinstance(content, dict) else ():
                self._part(part, index)

    def _part(self, part: Document, index: int) -> None:
        thought = part.get("thought") is True
        channel = f"choice {index} {'reasoning' if thought else 'content'}"
        if self.delta(part, "text", channel):
            self._open[channel] = index, {"thought": True} if thought else {}
            self._slots[channel] = part
        call: Any = part.get("functionCall")
        if isinstance(call, dict):
            self._calls += 1
            self.arguments(call, "args", f"choice {index} tool {self._calls} arguments")
        for name, key in (("executableCode", "code"), ("codeExecutionResult", "output")):
            if isinstance(part.get(name), dict):
                self._calls += 1
                self.whole(part[name], key, f"choice {index} {key} {self._calls} text")

    def _end(self, index: int) -> list[Document]:
        events = []
        for channel in [name for name, (owner, _) in self._open.items() if owner == index]:
            _, shape = self._open.pop(channel)
            tail = self.inspections.end(channel)
            if not tail:
                continue
            if channel in self._slots:
                part = self._slots[channel]
                self.put(part, "text", part["text"] + tail)
                continue
            content = {"parts": [{**shape, "text": tail}], "role": "model"}
            events.append({**self._shape, "candidates": [{"content": content, "index": index}]})
        return events
