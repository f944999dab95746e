"""Finds the texts of the Responses API. Its events repeat texts: each time the same one is put in."""

from __future__ import annotations

from typing import Any

from .inspections import Inspections
from .texts import Document, Swaps, number, objects

#: The last words of a channel, by the kind of event without ``response.`` and ``.delta``.
_KINDS = {
    "output_text": "content",
    "refusal": "refusal",
    "reasoning_text": "reasoning",
    "reasoning_summary_text": "reasoning",
    "function_call_arguments": "arguments",
    "mcp_call_arguments": "arguments",
    "custom_tool_call_input": "input text",
    "code_interpreter_call_code": "code text",
    "audio.transcript": "transcript text",
    "audio_transcript": "transcript text",
}
#: Kinds of events whose delta is no text.
_SOUND = ("audio", "output_audio")
#: The field with all of the text in an event that ends it.
_WHOLE = ("text", "refusal", "arguments", "input", "code", "transcript")
#: The field of a part, by its type, and the last word of its channel.
_PARTS = {
    "output_text": ("text", "content"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "reasoning"),
    "summary_text": ("text", "reasoning"),
    "text": ("text", "content"),
}
#: The last words of the channels of an item's own texts, by their fields.
_ITEMS = {"arguments": "arguments", "input": "input text", "code": "code text"}


class ResponseTexts(Swaps):
    """The texts of one answer (``texts.AnswerTexts``)."""

    def __init__(self, inspections: Inspections) -> None:
        super().__init__(inspections)
        #: The texts that have passed, by channel.
        self._said: dict[str, list[str]] = {}
        #: The open channels, each with its last event but the text.
        self._open: dict[str, Document] = {}
        #: How many events were added, which shifts the numbers of all later ones.
        self._added = 0
        self._next = 0
        self._before: list[Document] = []

    def event(self, document: Document) -> list[Document]:
        self.changed, self._before = False, []
        self._next = number(document.get("sequence_number")) + self._added
        kind = str(document.get("type")).removeprefix("response.")
        stem, _, step = kind.rpartition(".")
        if step == "delta" and stem not in _SOUND:
            self._delta(document, _channel(document, _KINDS.get(stem, f"{stem} text")))
        elif stem in _KINDS and step == "done":
            self._done(document, _channel(document, _KINDS[stem]))
        elif isinstance(document.get("part"), dict):
            self._part(document["part"], _place(document))
        elif isinstance(document.get("item"), dict):
            self._item(document["item"], number(document.get("output_index")))
        elif isinstance(document.get("response"), dict):
            self._response(document["response"])
        return self._numbered(document)

    def rest(self) -> list[Document]:
        self._before, self._next = [], self._next + 1
        for channel in list(self._open):
            self._close(channel)
        return self._before

    def body(self, document: Document) -> None:
        self.changed = False
        self._response(document)

    def _numbered(self, document: Document) -> list[Document]:
        """The events to send before, with the numbers that they and the event get."""
        if self._added and "sequence_number" in document:
            self.put(document, "sequence_number", number(document["sequence_number"]) + self._added)
        return self._before

    def _delta(self, document: Document, channel: str) -> None:
        self.hide(document, "logprobs", [])
        if self.delta(document, "delta", channel):
            self._said.setdefault(channel, []).append(document["delta"])
            self._open[channel] = {**document, "delta": ""}
        if self.changed and "obfuscation" in document:
            document["obfuscation"] = ""  # its length would tell that of the text

    def _done(self, document: Document, channel: str) -> None:
        self.hide(document, "logprobs", [])
        for name in _WHOLE:
            self._full(document, name, channel)
        self._close(channel)

    def _close(self, channel: str) -> str:
        """End a channel: what was held back becomes an event."""
        shape = self._open.pop(channel, None)
        if shape is not None and (tail := self.inspections.end(channel)):
            self._said[channel].append(tail)
            self._before.append({**shape, "delta": tail, "sequence_number": self._next})
            self._added, self._next = self._added + 1, self._next + 1
        return "".join(self._said.get(channel, ()))

    def _full(self, holder: Document, key: str, channel: str) -> None:
        """Put in all of a channel's text, which may have passed before."""
        text = holder.get(key)
        if not isinstance(text, str) or not text:
            return
        if channel not in self._said:
            self._said[channel] = [self.inspections.whole(channel, text)]
        self.put(holder, key, self._close(channel))

    def _part(self, part: Document, place: str) -> None:
        name, word = _PARTS.get(str(part.get("type")), ("text", "text"))
        self.hide(part, "logprobs", [])
        self._full(part, name, f"{place} {word}")
        self._full(part, "transcript", f"{place} transcript text")

    def _item(self, item: Document, index: int) -> None:
        for field, what in (("content", "part"), ("summary", "summary")):
            for place, part in enumerate(objects(item.get(field))):
                self._part(part, f"item {index} {what} {place}")
        if isinstance(item.get("content"), str):
            self._full(item, "content", f"item {index} part 0 content")
        for name, words in _ITEMS.items():
            self._full(item, name, f"item {index} {words}")

    def _response(self, response: Document) -> None:
        for index, item in enumerate(objects(response.get("output"))):
            self._item(item, index)
        self._full(response, "output_text", "all content")


def _place(document: Document) -> str:
    """The words that tell apart where an event belongs."""
    words: list[Any] = ["item", number(document.get("output_index"))]
    for name, word in (("content_index", "part"), ("summary_index", "summary")):
        if name in document:
            words += [word, number(document[name])]
    return " ".join(map(str, words))


def _channel(document: Document, kind: str) -> str:
    return f"{_place(document)} {kind}"
