"""Finds the texts of answers, channel by channel, and puts in what inspections return: the common part.

``chat_texts.py``, ``message_texts.py``, ``response_texts.py`` and ``gemini_texts.py`` know one API each.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from .inspections import Inspections

#: A decoded JSON object.
Document = dict[str, Any]


class AnswerTexts(Protocol):
    """Knows where one answer has its texts. It changes decoded JSON in place.

    :ivar changed: whether the document that was read last has changed.
    """

    changed: bool

    def event(self, document: Document) -> list[Document]:
        """Read an event of a stream. Return the events to send before it: they carry what was held back."""
        ...

    def rest(self) -> list[Document]:
        """Return the events that carry what is still held back: the stream is over."""
        ...

    def body(self, document: Document) -> None:
        """Read an answer in one piece."""
        ...


class Swaps:
    """Puts texts that were inspected in the place of others.

    :ivar changed: whether the document that was read last has changed.
    """

    def __init__(self, inspections: Inspections) -> None:
        self.inspections = inspections
        self.changed = False

    def delta(self, holder: Document, key: str, channel: str) -> bool:
        """Inspect the next text of a channel. Return whether there is one."""
        text = holder.get(key)
        if not isinstance(text, str) or not text:
            return False
        self.put(holder, key, self.inspections.text(channel, text))
        return True

    def whole(self, holder: Document, key: str, channel: str) -> None:
        """Inspect a text that is all of a channel."""
        text = holder.get(key)
        if isinstance(text, str) and text:
            self.put(holder, key, self.inspections.whole(channel, text))

    def put(self, holder: Document, key: str, value: object) -> None:
        if holder.get(key) != value:
            holder[key] = value
            self.changed = True

    def arguments(self, holder: Document, key: str, channel: str) -> None:
        """Inspect arguments that are an object, as the JSON text of it.

        :raises PluginFailed: the text that came out is none, and the plugin fails closed.
        """
        value = holder.get(key)
        if not isinstance(value, dict) or not value:
            return
        text = msgspec.json.encode(value).decode()
        out = self.inspections.whole(channel, text)
        if out == text:
            return
        try:
            changed = msgspec.json.decode(out, type=dict[str, Any])
        except (ValueError, RecursionError):
            self.inspections.unreadable()
            return
        self.put(holder, key, changed)

    def hide(self, holder: Document, key: str, nothing: object = None) -> None:
        """Take out what repeats the text in another form, such as ``logprobs``."""
        if holder.get(key):
            self.put(holder, key, nothing)


def objects(value: object) -> list[Document]:
    """The objects of a list; nothing if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value: object, otherwise: int = 0) -> int:
    """An index; ``otherwise`` if it is none."""
    return value if type(value) is int else otherwise
