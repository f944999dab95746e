"""Translates the messages of chat to those of Anthropic's API: contents, tool calls and results to blocks.

https://platform.openai.com/docs/api-reference/chat/create. A value that means the same keeps its bytes.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...model.errors import InvalidField
from ...model.quirks import InlineSystem, Quirks
from .request_parts import (
    EMPTY,
    FieldRefusals,
    Raw,
    is_text,
    list_of,
    object_of,
    text_of,
    tool_id,
)

#: The fields of messages by role, and those that change nothing at Anthropic.
_FIELDS_OF = {
    "system": {"content"},
    "developer": {"content"},
    "user": {"content"},
    "assistant": {"content", "refusal", "tool_calls", "thinking_blocks"},
    "tool": {"content", "tool_call_id"},
}
_IDLE = frozenset({"role", "name", "cache_control", "reasoning_content", "reasoning", "annotations"})
_IDLE_IN_PARTS = frozenset({"type", "cache_control", "prompt_cache_breakpoint", "annotations"})
_FIELD_OF_PART = {
    "text": "text",
    "input_text": "text",
    "refusal": "refusal",
    "image_url": "image_url",
    "file": "file",
}

#: A name that Anthropic takes.
is_name = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_DATA_URL = re.compile(rb'"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,')
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
#: How much of a URL is looked at to find its type, bytes.
_HEAD = 128

Block = dict[str, Any]
Message = dict[str, Any]


class ChatMessagesReader:
    """Builds the messages of one request of Anthropic's API, in order.

    :ivar messages: so far. :ivar system: the blocks of the system prompt.
    """

    def __init__(self, quirks: Quirks, refusals: FieldRefusals) -> None:
        self._quirks = quirks
        self._refusals = refusals
        self.system: list[Block] = []
        self.messages: list[Message] = []

    def add(self, raw: msgspec.Raw, path: str) -> None:
        """Add one message.

        :raises InvalidField: it is no message. :raises UnsupportedField: a part of it has no place.
        """
        message = object_of(raw, path)
        role = text_of(message.get("role"), f"{path}.role")
        known = _FIELDS_OF.get(role)
        if known is None:
            raise self._refusals.error(
                f"{path}.role", f"Messages of the role '{role[:40]}' are not translated."
            )
        self._refusals.beyond(message, known | _IDLE, path)
        blocks = self._blocks(message.get("content"), f"{path}.content")
        if role in ("system", "developer"):
            self._marked(blocks, message)
            self._system(blocks)
        elif role == "tool":
            self._push("user", self._marked([self._result(message, blocks, path)], message))
        elif role == "user":
            self._push("user", self._marked(blocks, message))
        else:
            self._push("assistant", self._marked(self._assistant(message, blocks, path), message))

    def _push(self, role: str, blocks: list[Block]) -> None:
        """Add blocks. Those of one role in a row are one message, tool results first."""
        if not blocks:
            return
        last = self.messages[-1] if self.messages else {}
        results = blocks[0]["type"] == "tool_result"
        behind_results = bool(last) and last["content"][-1]["type"] == "tool_result"
        if role == "user" == last.get("role") and behind_results:
            last["content"] += blocks
        elif role == "user" == last.get("role") and results:
            last["content"][:0] = blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _system(self, blocks: list[Block]) -> None:
        if not self.messages:
            self.system += blocks
        elif not blocks:
            return
        elif self._quirks.inline_system is InlineSystem.KEEP:
            self.messages.append({"role": "system", "content": blocks})
        elif self.messages[-1]["role"] == "user":
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": "user", "content": blocks})

    @staticmethod
    def _marked(blocks: list[Block], message: dict[str, msgspec.Raw]) -> list[Block]:
        """The blocks, with the ``cache_control`` of their message on the last."""
        if blocks and "cache_control" in message:
            blocks[-1]["cache_control"] = message["cache_control"]
        return blocks

    def _result(self, message: dict[str, msgspec.Raw], blocks: list[Block], path: str) -> Block:
        identifier = text_of(message.get("tool_call_id"), f"{path}.tool_call_id")
        result: Block = {"type": "tool_result", "tool_use_id": tool_id(identifier, short=False)}
        if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
            result["content"] = blocks[0]["text"]
        elif blocks:
            result["content"] = blocks
        return result

    def _assistant(self, message: dict[str, msgspec.Raw], blocks: list[Block], path: str) -> list[Block]:
        place = f"{path}.thinking_blocks"
        thought = list_of(message["thinking_blocks"], place) if "thinking_blocks" in message else []
        out: list[Any] = [object_of(block, f"{place}.{number}") for number, block in enumerate(thought)]
        out = [{**block, "type": text_of(block.get("type"), f"{place}.type")} for block in out] + blocks
        refusal = message.get("refusal", EMPTY)
        if is_text(refusal) and refusal != EMPTY:
            out.append({"type": "text", "text": refusal})
        calls = list_of(message["tool_calls"], f"{path}.tool_calls") if "tool_calls" in message else []
        for number, raw in enumerate(calls):
            out.append(self._call(object_of(raw, path), f"{path}.tool_calls.{number}"))
        return out

    def _call(self, call: dict[str, msgspec.Raw], path: str) -> Block:
        if "function" not in call:
            raise self._refusals.error(path, "It is no call of a function.")
        function = object_of(call["function"], f"{path}.function")
        name = text_of(function.get("name"), f"{path}.function.name")
        arguments = text_of(function.get("arguments", EMPTY), f"{path}.function.arguments").strip() or "{}"
        if not is_name(name):
            raise self._refusals.error(f"{path}.function.name", "Names have letters, digits, _ and -.")
        if not _is_object(arguments):
            hint = "The arguments must be a JSON object."
            raise self._refusals.error(f"{path}.function.arguments", hint)
        identifier = tool_id(text_of(call.get("id"), f"{path}.id"), short=False)
        return {"type": "tool_use", "id": identifier, "name": name, "input": Raw(arguments.encode())}

    # ------------------------------------------------------------------ contents

    def _blocks(self, raw: msgspec.Raw | None, path: str) -> list[Block]:
        """The blocks of a content. Empty texts are left out, as Anthropic refuses them."""
        if raw is None or raw == EMPTY:
            return []
        if is_text(raw):
            return [{"type": "text", "text": raw}]
        blocks: list[Block] = []
        for number, item in enumerate(list_of(raw, path)):
            place = f"{path}.{number}"
            part = object_of(item, place)
            block = self._block(part, place)
            if block is not None:
                blocks.append(
                    block | {"cache_control": part["cache_control"]} if "cache_control" in part else block
                )
        return blocks

    def _block(self, part: dict[str, msgspec.Raw], path: str) -> Block | None:
        kind = text_of(part.get("type"), f"{path}.type")
        field = _FIELD_OF_PART.get(kind)
        if field is None:
            self._refusals.refuse(path)
            return None
        self._refusals.beyond(part, {field} | _IDLE_IN_PARTS, path)
        value = part.get(field, EMPTY)
        if kind == "image_url":
            return self._image(value, f"{path}.image_url")
        if kind == "file":
            return self._file(object_of(value, f"{path}.file"), f"{path}.file")
        if not is_text(value):
            raise InvalidField(f"'{path}.{field}' must be a text.", param=f"{path}.{field}")
        return None if value == EMPTY else {"type": "text", "text": value}

    def _image(self, value: msgspec.Raw, path: str) -> Block | None:
        if is_text(value):
            return self._media(value, path)
        image = object_of(value, path)
        self._refusals.beyond(image, {"url", "detail"}, path)
        return self._media(image.get("url", EMPTY), path)

    def _file(self, file: dict[str, msgspec.Raw], path: str) -> Block | None:
        if not file:
            self._refusals.refuse(path)
        self._refusals.beyond(file, {"file_data", "filename"}, path)
        block = self._media(file["file_data"], f"{path}.file_data") if "file_data" in file else None
        if block is not None and block["type"] == "document" and "filename" in file:
            block["title"] = file["filename"]
        return block

    def _media(self, url: msgspec.Raw, path: str) -> Block | None:
        """The block of an image or PDF document. The data is not decoded."""
        head = bytes(memoryview(url)[:_HEAD])
        if head.startswith((b'"https://', b'"http://')):
            return {"type": "image", "source": {"type": "url", "url": url}}
        match = _DATA_URL.match(head)
        kind = match[1].decode().lower().replace("image/jpg", "image/jpeg") if match else ""
        if match is None or not (kind in _IMAGES or kind == "application/pdf"):
            self._refusals.refuse(
                path, "Images are jpeg, png, gif or webp, as data or at a URL; files are PDF."
            )
            return None
        data = Raw(b"".join((b'"', memoryview(url)[match.end() :])))
        source = {"type": "base64", "media_type": kind, "data": data}
        return {"type": "image" if kind in _IMAGES else "document", "source": source}


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False
