"""Finds the texts of Anthropic's Messages: of each block its content, reasoning or arguments."""

from __future__ import annotations

from typing import Any

from .inspections import Inspections
from .texts import Document, Swaps, number, objects

#: The field with the text, and the last word of the channel, by the type of a delta.
_DELTAS = {
    "text_delta": ("text", "content"),
    "thinking_delta": ("thinking", "reasoning"),
    "input_json_delta": ("partial_json", "arguments"),
}
#: The same by the field of a whole block.
_BLOCKS = {"text": "content", "thinking": "reasoning"}


class MessageTexts(Swaps):
    """The texts of one answer (``texts.AnswerTexts``)."""

    def __init__(self, inspections: Inspections) -> None:
        super().__init__(inspections)
        #: The open channels of each block, each with the delta that carries its text.
        self._open: dict[int, dict[str, tuple[str, str]]] = {}
        self._citations = 0

    def event(self, document: Document) -> list[Document]:
        self.changed = False
        kind, index = document.get("type"), number(document.get("index"))
        if kind == "content_block_delta" and isinstance(document.get("delta"), dict):
            self._delta(document["delta"], index)
        elif kind == "content_block_start" and isinstance(document.get("content_block"), dict):
            self._start(document["content_block"], index)
        elif kind == "content_block_stop":
            return self._end(index)
        elif kind in ("message_delta", "message_stop"):
            return self.rest()
        elif kind == "message_start" and isinstance(document.get("message"), dict):
            self._blocks(document["message"])
        return []

    def rest(self) -> list[Document]:
        return [event for index in sorted(self._open) for event in self._end(index)]

    def body(self, document: Document) -> None:
        self.changed = False
        self._blocks(document)

    def _blocks(self, message: Document) -> None:
        for index, block in enumerate(objects(message.get("content"))):
            for name, word in _BLOCKS.items():
                self.whole(block, name, f"block {index} {word}")
            self.arguments(block, "input", f"block {index} arguments")
            for citation in objects(block.get("citations")):
                self._citation(citation, index)

    def _start(self, block: Document, index: int) -> None:
        for name, word in _BLOCKS.items():
            self._text(block, name, index, word, f"{name}_delta")
        self.arguments(block, "input", f"block {index} arguments")

    def _delta(self, delta: Document, index: int) -> None:
        kind = str(delta.get("type"))
        if kind in _DELTAS:
            name, word = _DELTAS[kind]
            self._text(delta, name, index, word, kind)
        elif isinstance(delta.get("citation"), dict):
            self._citation(delta["citation"], index)

    def _text(self, holder: Document, name: str, index: int, word: str, kind: str) -> None:
        channel = f"block {index} {word}"
        if self.delta(holder, name, channel):
            self._open.setdefault(index, {})[channel] = kind, _DELTAS[kind][0]

    def _citation(self, citation: Document, index: int) -> None:
        """Inspect what a citation quotes: a channel of its own, which is over at once."""
        self._citations += 1
        self.whole(citation, "cited_text", f"block {index} citation {self._citations} text")

    def _end(self, index: int) -> list[Document]:
        events = []
        for channel, (kind, name) in self._open.pop(index, {}).items():
            if tail := self.inspections.end(channel):
                delta: dict[str, Any] = {"type": kind, name: tail}
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
        return events
