"""Translates the messages of Anthropic's API to those of chat: blocks to contents, tool calls and results.

https://docs.claude.com/en/api/messages. A value that means the same in both APIs keeps its bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...model.errors import InvalidField
from ...model.quirks import InlineSystem, Quirks
from .carried_state import LOST, opened
from .request_parts import (
    EMPTY,
    FieldRefusals,
    Raw,
    encoded,
    first,
    is_text,
    list_of,
    object_of,
    text_of,
    tool_id,
)

#: Claude Code's first system block. It differs between conversations, so it would spoil prefix caches.
ATTRIBUTION = "x-anthropic-billing-header:"
#: Fields of a block or message that say nothing to another provider.
_IDLE = frozenset({"type", "cache_control", "citations", "caller"})
_SOURCE = frozenset({"type", "media_type", "data", "url", "content", "file_id"})
_FIELDS_OF = {
    "text": {"text"},
    "image": {"source", "transformations"},
    "document": {"source", "title", "context"},
    "search_result": {"content", "source", "title"},
    "tool_reference": {"tool_name"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id", "content", "is_error"},
}

Block = dict[str, msgspec.Raw]
#: A message of chat.
Message = dict[str, Any]
Part = dict[str, Any]


def text_part(text: msgspec.Raw | str) -> Part:
    return {"type": "text", "text": text}


def content_of(parts: list[Part]) -> Any:
    """The content of a chat message: a single text as it is, else the list of parts."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


class BlockReader:
    """Reads blocks of one request, and translates those that are content."""

    def __init__(self, quirks: Quirks, refusals: FieldRefusals) -> None:
        self._quirks = quirks
        self._refusals = refusals

    def blocks(self, raw: msgspec.Raw | None, path: str) -> list[tuple[str, Block, str]]:
        """The blocks of a content: type, fields and path of each. A text is one block.

        :raises InvalidField: it is neither a text nor a list of blocks.
        """
        if raw is None:
            return []
        if is_text(raw):
            return [("text", {"text": raw}, path)]
        found = []
        for number, item in enumerate(list_of(raw, path)):
            place = f"{path}.{number}"
            block = object_of(item, place)
            found.append((self._checked(block, place), block, place))
        return found

    def _checked(self, block: Block, path: str) -> str:
        """The type of a block. Refuses its unknown fields."""
        kind = text_of(block.get("type"), f"{path}.type")
        known = _FIELDS_OF.get(kind)
        if known is not None:
            self._refusals.beyond(block, known | _IDLE, path)
        return kind

    def parts(self, kind: str, block: Block, path: str) -> list[Part]:
        """The parts of chat for a block of content."""
        if kind == "text":
            text = block.get("text", EMPTY)
            if not is_text(text):
                raise InvalidField(f"'{path}.text' must be a text.", param=f"{path}.text")
            return [] if text == EMPTY else [text_part(text)]
        if kind == "image":
            return self._image(block, path)
        if kind == "document":
            return self._document(block, path)
        if kind == "search_result":
            return [text_part(self._search_result(block, path))]
        if kind == "tool_reference":
            return [text_part(f"Tool {text_of(block.get('tool_name'), path)} is available.")]
        self._refusals.refuse(path)
        return []

    def _image(self, block: Block, path: str) -> list[Part]:
        kind, source = self._source(block, path)
        if kind == "base64":
            return [{"type": "image_url", "image_url": {"url": data_url(source, path)}}]
        if kind == "url":
            return [{"type": "image_url", "image_url": {"url": source.get("url", EMPTY)}}]
        self._refusals.refuse(f"{path}.source")
        return []

    def _document(self, block: Block, path: str) -> list[Part]:
        kind, source = self._source(block, path)
        if kind == "text":
            titles = [block[name] for name in ("title", "context") if name in block]
            return [text_part(text) for text in (*titles, source.get("data", EMPTY))]
        if kind == "content":
            inner = self.blocks(source.get("content"), f"{path}.source.content")
            return [part for each in inner for part in self.parts(*each)]
        if kind == "base64" and self._quirks.documents:
            name = block.get("title", Raw(b'"document.pdf"'))
            context = [text_part(block["context"])] if "context" in block else []
            return [
                *context,
                {"type": "file", "file": {"filename": name, "file_data": data_url(source, path)}},
            ]
        self._refusals.refuse(path, "" if self._quirks.documents else "'documents = true' sends PDF files.")
        return []

    def _source(self, block: Block, path: str) -> tuple[str, Block]:
        """The type and the fields of the source of an image or document."""
        source = object_of(block.get("source", Raw()), f"{path}.source")
        self._refusals.beyond(source, _SOURCE, f"{path}.source")
        return text_of(source.get("type"), f"{path}.source.type"), source

    def _search_result(self, block: Block, path: str) -> str:
        head = [text_of(block.get(name), f"{path}.{name}") for name in ("title", "source")]
        return "\n".join([*head, self.text(block.get("content"), f"{path}.content")])

    def text(self, raw: msgspec.Raw | None, path: str, joint: str = "\n") -> str:
        """The texts of a content as one. Refuses all else."""
        texts = []
        for kind, block, where in self.blocks(raw, path):
            for text in self.texts(kind, block, where):
                texts.append(text_of(text["text"], where) if isinstance(text["text"], Raw) else text["text"])
        return joint.join(texts)

    def texts(self, kind: str, block: Block, path: str) -> list[Part]:
        """The parts of a block where chat takes texts alone. Refuses all else."""
        parts = self.parts(kind, block, path)
        if any(part["type"] != "text" for part in parts):
            self._refusals.refuse(path)
        return [part for part in parts if part["type"] == "text"]


def data_url(source: Block, path: str) -> msgspec.Raw:
    """The data of a base64 source as a URL. The data is not decoded."""
    kind = text_of(source.get("media_type"), f"{path}.source.media_type")
    data = source.get("data", EMPTY)
    if not is_text(data):
        raise InvalidField(f"'{path}.source.data' must be a text.", param=f"{path}.source.data")
    return Raw(b"".join((msgspec.json.encode(f"data:{kind};base64,")[:-1], memoryview(data)[1:])))


class MessagesReader(BlockReader):
    """Builds the messages of one chat request, in order.

    :ivar messages: those of chat so far.
    :ivar referenced: the tools that tool references in the history name.
    """

    def __init__(self, quirks: Quirks, refusals: FieldRefusals) -> None:
        super().__init__(quirks, refusals)
        self.messages: list[Message] = []
        self.referenced: set[str] = set()
        #: System texts that wait: they may not come between tool calls and their results.
        self._waiting: list[str] = []

    def add_system(self, raw: msgspec.Raw) -> None:
        """Add the system prompt of the request, without Claude Code's attribution."""
        texts = []
        for kind, block, path in self.blocks(raw, "system"):
            parts = self.texts(kind, block, path)
            if parts and not (text := text_of(parts[0]["text"], path)).startswith(ATTRIBUTION):
                texts.append(text)
        if texts:
            self.messages.append({"role": self._quirks.system_role, "content": "\n\n".join(texts)})

    def add(self, raw: msgspec.Raw, path: str) -> None:
        """Add one message of the request.

        :raises InvalidField: it is no message. :raises UnsupportedField: chat has no place for a part of it.
        """
        message = object_of(raw, path)
        self._refusals.beyond(message, {"role", "content", "output_config"} | _IDLE, path)
        role, content = text_of(message.get("role"), f"{path}.role"), message.get("content")
        place = f"{path}.content"
        if role == "system":
            self._system(self.text(content, place, "\n\n"))
        elif role == "user":
            self._user(self.blocks(content, place))
        elif role == "assistant":
            self._assistant(self.blocks(content, place))
        else:
            raise InvalidField(f"'{path}.role' must be user, assistant or system.", param=f"{path}.role")

    def finish(self) -> None:
        """Add what waits for tool results that never came."""
        self._add_waiting()

    # ------------------------------------------------------------------ system messages

    def _system(self, text: str) -> None:
        last = self.messages[-1] if self.messages else {}
        if not text:
            return
        if last.get("tool_calls"):
            self._waiting.append(text)
        elif self._quirks.inline_system is InlineSystem.KEEP:
            self.messages.append({"role": self._quirks.system_role, "content": text})
        elif last.get("role") in ("user", "tool"):
            last["content"] = _extended(last["content"], text)
        else:
            self._waiting.append(text)

    def _add_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for text in waiting:
            self._system(text)
        if self._waiting:  # no message before them can take them
            self.messages += [{"role": "user", "content": text} for text in self._waiting]
            self._waiting = []

    # ------------------------------------------------------------------ the user's messages

    def _user(self, blocks: list[tuple[str, Block, str]]) -> None:
        """Tool results first: chat wants them right behind the calls."""
        parts: list[Part] = []
        for kind, block, path in blocks:
            if kind == "tool_result":
                parts += self._result(block, path)
            else:
                parts += self.parts(kind, block, path)
        folding = self._quirks.inline_system is InlineSystem.FOLD
        if self._waiting and folding and parts:
            parts[:0] = [text_part(text) for text in self._waiting]
            self._waiting = []
        else:
            self._add_waiting()
        if parts:
            self.messages.append({"role": "user", "content": content_of(parts)})

    def _result(self, block: Block, path: str) -> list[Part]:
        """Add the message of a tool result. Return the parts that only a user message may have."""
        identifier = text_of(block.get("tool_use_id"), f"{path}.tool_use_id")
        parts: list[Part] = []
        for kind, inner, place in self.blocks(block.get("content"), f"{path}.content"):
            if kind == "tool_reference":
                self.referenced.add(text_of(inner.get("tool_name"), f"{place}.tool_name"))
            parts += self.parts(kind, inner, place)
        if first(block.get("is_error", EMPTY)) == b"t":
            parts.insert(0, text_part("Error: "))
        call_id = tool_id(identifier, short=True) if self._quirks.short_tool_ids else identifier
        message: Message = {"role": "tool", "tool_call_id": call_id}
        texts = [part for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] != "text"]
        if self._quirks.tool_parts and others:
            self.messages.append(message | {"content": parts})
            return []
        stands_in = "" if texts or not others else "The result is in the next message."
        self.messages.append(message | {"content": _joined(texts) if texts else stands_in})
        return [text_part(f"Result of call {call_id}:"), *others] if others else []

    # ------------------------------------------------------------------ the assistant's messages

    def _assistant(self, blocks: list[tuple[str, Block, str]]) -> None:
        texts: list[Part] = []
        reasoning: list[str] = []
        calls: list[dict[str, Any]] = []
        state: msgspec.Raw | None = None
        for kind, block, path in blocks:
            if kind == "tool_use":
                calls.append(self._call(block, path))
                if self._quirks.thought_signatures and (state or len(calls) == 1):
                    calls[-1]["extra_content"] = state or LOST
                state = None
            elif kind == "redacted_thinking":  # another provider's cannot be read
                state = opened(text_of(block.get("data"), f"{path}.data"))
            elif kind == "thinking":
                reasoning.append(text_of(block.get("thinking"), f"{path}.thinking"))
            else:
                texts += self.texts(kind, block, path)
        message: Message = {
            "role": "assistant",
            "content": _joined(texts) if texts else None if calls else "",
        }
        if reasoning and self._quirks.reasoning_field:
            message[self._quirks.reasoning_field] = "".join(reasoning)
        if calls:
            message["tool_calls"] = calls
        self.messages.append(message)

    def _call(self, block: Block, path: str) -> dict[str, Any]:
        identifier = text_of(block.get("id"), f"{path}.id")
        arguments = bytes(block.get("input", Raw(b"{}"))).decode()
        return {
            "id": tool_id(identifier, short=True) if self._quirks.short_tool_ids else identifier,
            "type": "function",
            "function": {"name": block.get("name", EMPTY), "arguments": arguments},
        }


def _joined(parts: list[Part]) -> Any:
    """The texts of parts as one text. A single one keeps its bytes."""
    if len(parts) == 1:
        return parts[0]["text"]
    texts = (part["text"] for part in parts)
    return "".join(text_of(text, "") if isinstance(text, Raw) else text for text in texts)


def _extended(content: Any, text: str) -> Any:
    """A content with a further text behind it."""
    if isinstance(content, list):
        return [*content, text_part(text)]
    before = text_of(content, "") if isinstance(content, Raw) else content
    return f"{before}\n\n{text}" if before else text


def raw_messages(messages: list[Message]) -> msgspec.Raw:
    return encoded(messages)
