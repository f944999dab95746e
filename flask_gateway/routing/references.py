"""Finds what a request refers to that an upstream keeps: earlier responses, conversations, files.

Pure: the fields of a body in, references out. Such state lies at one upstream, and no other knows its ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ..model.call import Operation

#: More ids than this are not learned of one answer.
MAX_IDS = 32
#: A body is looked through in pieces of this many bytes.
_PIECE = 1 << 20

Fields = Mapping[str, msgspec.Raw]


class Reference(NamedTuple):
    """What a request refers to.

    :param param: the field in which it stands.
    :param id: the id; empty where the field has several or it does not matter.
    :param learned: whether answers tell such ids, so that they can be known here.
    """

    param: str
    id: str
    learned: bool


_ABSENT = msgspec.Raw(b"")


class _Item(msgspec.Struct):
    """Nothing in it is built: an input may have pictures of many megabytes."""

    id: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    role: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_items = msgspec.json.Decoder(list[_Item]).decode
_decode_text = msgspec.json.Decoder(str).decode
#: The longest id that is one, bytes.
_LONGEST = 512
#: Fields of tools that name what is kept at an upstream, and of inputs.
_IN_TOOLS = (b'"vector_store_ids"', b'"file_ids"', b'"container":"', b'"container": "')
_IN_INPUT = (b'"file_id"',)


def references(operation: Operation, fields: Fields) -> Iterator[Reference]:
    """Yield what the request refers to, that is, what only one upstream may know."""
    if operation is Operation.CHAT:
        if _has(fields.get("messages"), _IN_INPUT):
            yield Reference("messages", "", learned=False)
    elif operation is Operation.RESPONSE:
        yield from _of_a_response(fields)


def _of_a_response(fields: Fields) -> Iterator[Reference]:
    for name in ("previous_response_id", "conversation"):
        if found := _id(fields.get(name)):
            yield Reference(name, found, learned=True)
    items = fields.get("input")
    if _has(items, (b'"item_reference"', b'"id"')):
        yield from (Reference("input", found, learned=True) for found in _item_references(items))
    if _has(items, _IN_INPUT):
        yield Reference("input", "", learned=False)
    if _has(fields.get("tools"), _IN_TOOLS):
        yield Reference("tools", "", learned=False)
    if found := _id(fields.get("prompt")):
        yield Reference("prompt", found, learned=False)


def _item_references(raw: msgspec.Raw | None) -> list[str]:
    """The ids of items that stand for earlier ones: of that type, or with an id and nothing else."""
    try:
        items = _decode_items(raw or b"[]")
    except (ValueError, RecursionError):
        return []  # a text, or nothing that we know
    found = (_text(item.id) for item in items if _is_reference(item))
    return [name for name in found if name]


def _is_reference(item: _Item) -> bool:
    if _text(item.type) == "item_reference":
        return True
    return not any(_is_there(value) for value in (item.type, item.role, item.content))


def _is_there(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:5]) not in (b"", b"null")


def _id(raw: msgspec.Raw | None) -> str:
    """The id that a field has, as a text or in an object; empty if it has none."""
    if raw is None:
        return ""
    try:
        return _text(raw) or _text(_decode_item(raw).id)
    except (ValueError, RecursionError):
        return ""


def _text(raw: msgspec.Raw) -> str:
    """The text that a value is; empty if it is none, or too long for an id."""
    view = memoryview(raw)
    if not 2 < len(view) <= _LONGEST:
        return ""
    try:
        return _decode_text(view)
    except ValueError:
        return ""


def _has(raw: msgspec.Raw | None, words: tuple[bytes, ...]) -> bool:
    """Whether a value has one of the words in it, without a copy of all of it."""
    if raw is None:
        return False
    view = memoryview(raw)
    if len(view) <= _PIECE:
        data = bytes(view)
        return any(word in data for word in words)
    step = _PIECE - 64  # no word is longer than what two pieces share
    pieces = (bytes(view[at : at + _PIECE]) for at in range(0, len(view), step))
    return any(word in piece for piece in pieces for word in words)


def asks_background(fields: Fields) -> bool:
    """Whether the answer is not to be given now, but fetched later."""
    return bytes(fields.get("background", b"")).strip() not in (b"", b"false", b"null")


def is_kept(fields: Fields) -> bool:
    """Whether the upstream keeps what it answers, as it does unless it is told not to."""
    return bytes(fields.get("store", b"")).strip() != b"false"


# ---------------------------------------------------------------- what answers tell


class _Named(msgspec.Struct):
    id: Any = None


class _Answer(msgspec.Struct):
    id: Any = None
    conversation: Any = None
    output: list[_Named] | None = None


class _Event(msgspec.Struct):
    response: _Answer | None = None
    item: _Named | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
#: Events that name a response or an item of it; all others are passed by unread.
_NAMING = (b"response.created", b"response.output_item.done", b"response.completed", b"response.incomplete")


def ids_in_body(body: bytes) -> list[str]:
    """The ids in a response that later requests may refer to."""
    try:
        return _ids(_decode_answer(body))
    except (ValueError, RecursionError):
        return []


def ids_in_events(events: bytes) -> list[str]:
    """The same, of any number of whole events of a stream."""
    found = []
    if any(word in events for word in _NAMING):
        for line in events.split(b"\n"):
            if line.startswith(b"data:") and any(word in line[:256] for word in _NAMING):
                found += _ids_in_event(line[5:])
    return found


def _ids_in_event(data: bytes) -> list[str]:
    try:
        event = _decode_event(data)
    except (ValueError, RecursionError):
        return []
    return (_ids(event.response) if event.response else []) + _texts([event.item.id if event.item else None])


def _ids(answer: _Answer) -> list[str]:
    conversation = answer.conversation
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    items = [item.id for item in answer.output or ()]
    return _texts([answer.id, conversation, *items])[:MAX_IDS]


def _texts(values: list[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str) and value]
