"""Translates the items of a Responses request into messages of chat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ....model.quirks import InlineSystem, Quirks
from ..request_parts import tool_id
from .fields import MAPPED_ITEMS, STORED_ITEMS
from .raw import Fields, Raw, is_null, is_text, joined, list_of, object_of, text_of, written
from .refusals import Refusals
from .tools import arguments_of, chat_name

_EMPTY = Raw(b'""')
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "summary_text": "text"}
_TEXTS |= {"refusal": "refusal", "reasoning_text": "text"}
#: Texts of a system message stand apart, those of an answer do not.
_BETWEEN = {"system": "\n\n", "assistant": ""}
_DETAILS = frozenset({"auto", "low", "high"})


class Content(NamedTuple):
    """The content of a message: its texts as strings, and all its parts as chat has them."""

    texts: list[Raw]
    parts: list[dict[str, Any]]

    @property
    def others(self) -> list[dict[str, Any]]:
        """The parts that are no texts."""
        return [part for part in self.parts if part["type"] != "text"]


class ChatMessages:
    """Collects the messages of chat from the items of an input, in order.

    The results of an assistant's calls follow its message at once, as chat demands: what stands between them
    comes behind them.

    :param quirks: of the upstream.
    """

    def __init__(self, refusals: Refusals, quirks: Quirks) -> None:
        self._messages: list[dict[str, Any]] = []
        self._refusals = refusals
        self._quirks = quirks
        self._reasoning: list[Raw] = []
        #: The ids of calls that have an output in the input, and of those, the calls whose output follows.
        self._answered: set[bytes] = set()
        self._open: set[bytes] = set()
        #: The message that takes further calls.
        self._assistant: dict[str, Any] | None = None
        #: Messages that wait until the last output has come.
        self._pictures: list[dict[str, Any]] = []
        self._held: list[dict[str, Any]] = []

    def add_instructions(self, raw: Raw | None) -> None:
        if is_null(raw):
            return
        if not is_text(raw):
            raise self._refusals.invalid("instructions", "a text")
        self._messages.append({"role": self._quirks.system_role, "content": raw})

    def add_input(self, raw: Raw | None) -> None:
        if is_null(raw):
            return
        if is_text(raw):
            self._messages.append({"role": "user", "content": raw})
            return
        values = list_of(raw)
        if values is None:
            raise self._refusals.invalid("input", "a text or a list of items")
        items = [object_of(value) or {} for value in values]
        self._answered = {_id(item) for item in items if text_of(item.get("type")).endswith("_output")}
        for number, item in enumerate(items):
            self._add(item, f"input.{number}")
        self._flush()

    def _add(self, item: Fields, path: str) -> None:
        kind = text_of(item.get("type")) or ("message" if "role" in item else "item_reference")
        if kind not in MAPPED_ITEMS:
            self._leave_out(kind, path)
        elif kind == "message":
            self._add_message(item, path)
        elif kind == "reasoning":
            self._reasoning += _reasoning_of(item)
        elif kind.endswith("_output"):
            self._add_output(item, path)
        else:
            self._add_call(item, kind)

    def _leave_out(self, kind: str, path: str) -> None:
        if kind in STORED_ITEMS:
            raise self._refusals.refuse(path, f"item of type '{kind}'")
        self._refusals.leave_out(path, f"item of type '{kind}'")

    def _add_message(self, item: Fields, path: str) -> None:
        role = text_of(item.get("role"))
        role = "system" if role == "developer" else role
        if role not in ("system", "user", "assistant"):
            raise self._refusals.invalid(f"{path}.role", "system, developer, user or assistant")
        content = self._content(item.get("content"), f"{path}.content")
        if content.parts:
            written_role = self._quirks.system_role if role == "system" else role
            message = {"role": written_role, "content": _written_content(content, role)}
            self._append(self._with_reasoning(message) if role == "assistant" else message)

    def _append(self, message: dict[str, Any]) -> None:
        if self._open:
            self._held.append(message)
            return
        self._messages.append(message)
        self._assistant = message if message["role"] == "assistant" else None

    def _with_reasoning(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._reasoning and self._quirks.reasoning_field:
            message[self._quirks.reasoning_field] = joined(self._reasoning, "\n\n")
        self._reasoning = []
        return message

    def _add_call(self, item: Fields, kind: str) -> None:
        if self._assistant is None:
            self._append(self._with_reasoning({"role": "assistant", "content": None}))
        assert self._assistant is not None
        name = chat_name(text_of(item.get("name")), text_of(item.get("namespace")))
        arguments = item.get("arguments", _EMPTY)
        if kind == "custom_tool_call":
            arguments = arguments_of(item.get("input", _EMPTY))
        function = {"name": name, "arguments": arguments}
        call = {"id": self._call_id(item), "type": "function", "function": function}
        self._assistant.setdefault("tool_calls", []).append(call)
        if (identifier := _id(item)) in self._answered:
            self._open.add(identifier)

    def _add_output(self, item: Fields, path: str) -> None:
        content = self._content(item.get("output"), f"{path}.output")
        identifier = self._call_id(item)
        result: Any = joined(content.texts, "\n") if content.texts else _EMPTY
        if content.others and self._quirks.tool_parts:
            result = content.parts
        elif content.others:
            title = written(f"The result of call {text_of(identifier)}:")
            self._pictures += [{"type": "text", "text": title}, *content.others]
        self._messages.append({"role": "tool", "tool_call_id": identifier, "content": result})
        self._open.discard(_id(item))
        if not self._open:
            self._assistant = None
            self._flush()

    def _call_id(self, item: Fields) -> Raw:
        identifier = item.get("call_id", _EMPTY)
        return (
            written(tool_id(text_of(identifier), short=True)) if self._quirks.short_tool_ids else identifier
        )

    def done(self) -> list[dict[str, Any]]:
        """Return the messages."""
        folds = self._quirks.inline_system is InlineSystem.FOLD
        return folded(self._messages, self._quirks.system_role) if folds else self._messages

    def _flush(self) -> None:
        """Append what had to wait for outputs."""
        self._open.clear()
        pictures, held, self._pictures, self._held = self._pictures, self._held, [], []
        if pictures:
            self._append({"role": "user", "content": pictures})
        for message in held:
            self._append(message)

    def _content(self, raw: Raw | None, path: str) -> Content:
        if is_null(raw):
            return Content([], [])
        if raw is not None and is_text(raw):
            return Content([raw], [{"type": "text", "text": raw}])
        values = list_of(raw)
        if values is None:
            raise self._refusals.invalid(path, "a text or a list of parts")
        content = Content([], [])
        for number, value in enumerate(values):
            self._add_part(content, object_of(value) or {}, f"{path}.{number}")
        return content

    def _add_part(self, content: Content, part: Fields, path: str) -> None:
        kind = text_of(part.get("type"))
        if kind in _TEXTS:
            text = part.get(_TEXTS[kind], _EMPTY)
            if is_text(text) and text != _EMPTY:
                content.texts.append(text)
                content.parts.append({"type": "text", "text": text})
        elif kind == "input_image" and is_text(part.get("image_url")):
            content.parts.append(_image(part))
        elif kind == "input_file" and is_text(part.get("file_data")) and self._quirks.documents:
            file = {name: part[name] for name in ("filename", "file_data") if not is_null(part.get(name))}
            content.parts.append({"type": "file", "file": file})
        else:
            stored = " by reference" if kind in ("input_image", "input_file") else ""
            self._refusals.leave_out(path, f"part of type '{kind}'{stored}")


def folded(messages: list[dict[str, Any]], system_role: str) -> list[dict[str, Any]]:
    """Append each system message behind the first others to the message before it that is not the model's.

    For servers that take one system message, and take it first.
    """
    kept: list[dict[str, Any]] = []
    begun, before = False, None
    for message in messages:
        inline = begun and message["role"] == system_role
        begun = begun or message["role"] != system_role
        if inline and before is not None:
            before["content"] = _both(before["content"], message["content"])
            continue
        kept.append({**message, "role": "user"} if inline else message)
        before = kept[-1] if kept[-1]["role"] in ("user", "tool") else before
    return kept


def _both(content: Any, more: Any) -> Any:
    """Two contents as one: a string if both are one, else their parts."""
    if not isinstance(content, list) and not isinstance(more, list):
        return joined([content, more], "\n\n")
    lists = [one if isinstance(one, list) else [{"type": "text", "text": one}] for one in (content, more)]
    return [*lists[0], *lists[1]]


def _id(item: Fields) -> bytes:
    raw = item.get("call_id")
    return b"" if raw is None else bytes(memoryview(raw))


def _image(part: Fields) -> dict[str, Any]:
    image: dict[str, Any] = {"url": part["image_url"]}
    if text_of(part.get("detail")) in _DETAILS:
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _written_content(content: Content, role: str) -> Any:
    """The content as chat has it: one string if it has one text, or must be one."""
    if not content.others and (len(content.texts) == 1 or role in _BETWEEN):
        return joined(content.texts, _BETWEEN.get(role, ""))
    return content.parts


def _reasoning_of(item: Fields) -> Iterator[Raw]:
    """Yield the texts of a reasoning item: the reasoning itself, else its summary."""
    for name in ("content", "summary"):
        parts = [object_of(part) or {} for part in list_of(item.get(name)) or []]
        texts = [part["text"] for part in parts if is_text(part.get("text"))]
        if texts:
            yield from texts
            return
