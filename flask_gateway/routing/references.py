"""Finds references to stored state in a request: earlier responses, conversations, files.

It also finds the ids in answers to which later requests may refer. It does no I/O. Such state is at one
upstream, and no other knows its ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ..model.call import Operation

#: The most ids remembered from one answer.
MAX_IDS = 32
#: A body is searched in pieces of this many bytes.
_PIECE = 1 << 20

Fields = Mapping[str, msgspec.Raw]


class Reference(NamedTuple):
    """A reference to stored state.

    :param param: the field that contains it.
    :param id: the id; empty if the field has several, or the id does not matter.
    :param learned: whether such ids come in answers, so that the gateway can know them.
    """

    param: str
    id: str
    learned: bool


_ABSENT = msgspec.Raw(b"")


class _Item(msgspec.Struct):
    """An item whose values stay undecoded: an input may have images of many megabytes."""

    id: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    role: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_items = msgspec.json.Decoder(list[_Item]).decode
_decode_text = msgspec.json.Decoder(str).decode
#: The longest id, bytes.
_LONGEST = 512
#: Fields of tools, and of inputs, that refer to stored state.
_IN_TOOLS = (b'"vector_store_ids"', b'"file_ids"', b'"container":"', b'"container": "')
_IN_INPUT = (b'"file_id"',)


def references(operation: Operation, fields: Fields) -> Iterator[Reference]:
    """Yield the request's references to state that only one upstream may know."""
    if operation is Operation.CHAT:
        if _has(fields.get("messages"), _IN_INPUT):
            yield Reference("messages", "", learned=False)
    elif operation is Operation.IMAGE_EDIT:
        for name in ("images", "mask"):
            if _has(fields.get(name), _IN_INPUT):
                yield Reference(name, "", learned=False)
    elif operation is Operation.RESPONSE:
        yield from _in_response_request(fields)
    elif operation is Operation.MESSAGE:
        yield from _in_message_request(fields)
    elif operation is Operation.GENERATE and (identifier := _id(fields.get("cachedContent"))):
        yield Reference("cachedContent", identifier, learned=False)


def _in_message_request(fields: Fields) -> Iterator[Reference]:
    for name in ("container", "thread"):
        if identifier := _id(fields.get(name)):
            yield Reference(name, identifier, learned=False)
    if _has(fields.get("messages"), _IN_INPUT):
        yield Reference("messages", "", learned=False)


def _in_response_request(fields: Fields) -> Iterator[Reference]:
    for name in ("previous_response_id", "conversation"):
        if identifier := _id(fields.get(name)):
            yield Reference(name, identifier, learned=True)
    items = fields.get("input")
    if _has(items, (b'"item_reference"', b'"id"')):
        yield from (Reference("input", identifier, learned=True) for identifier in _item_references(items))
    if _has(items, _IN_INPUT):
        yield Reference("input", "", learned=False)
    if _has(fields.get("tools"), _IN_TOOLS):
        yield Reference("tools", "", learned=False)
    if identifier := _id(fields.get("prompt")):
        yield Reference("prompt", identifier, learned=False)


def _item_references(raw: msgspec.Raw | None) -> list[str]:
    """The ids of items that refer to earlier ones: of type ``item_reference``, or with nothing but an id."""
    try:
        items = _decode_items(raw or b"[]")
    except (ValueError, RecursionError):
        return []  # a text, or a format that we do not know
    ids = (_text(item.id) for item in items if _is_reference(item))
    return [identifier for identifier in ids if identifier]


def _is_reference(item: _Item) -> bool:
    if _text(item.type) == "item_reference":
        return True
    return not any(_is_set(value) for value in (item.type, item.role, item.content))


def _is_set(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:5]) not in (b"", b"null")


def _id(raw: msgspec.Raw | None) -> str:
    """The id in a field, given as a string or in an object; empty if there is none."""
    if raw is None:
        return ""
    try:
        return _text(raw) or _text(_decode_item(raw).id)
    except (ValueError, RecursionError):
        return ""


def _text(raw: msgspec.Raw) -> str:
    """The value as a string; empty if it is not a string, or too long for an id."""
    view = memoryview(raw)
    if not 2 < len(view) <= _LONGEST:
        return ""
    try:
        return _decode_text(view)
    except ValueError:
        return ""


def _has(raw: msgspec.Raw | None, words: tuple[bytes, ...]) -> bool:
    """Whether a value contains one of the words. It copies only a piece of the value at a time."""
    if raw is None:
        return False
    view = memoryview(raw)
    if len(view) <= _PIECE:
        data = bytes(view)
        return any(word in data for word in words)
    step = _PIECE - 64  # pieces overlap by more than the longest word
    pieces = (bytes(view[at : at + _PIECE]) for at in range(0, len(view), step))
    return any(word in piece for piece in pieces for word in words)


def is_kept(fields: Fields) -> bool:
    """Whether the upstream stores its response, which it does unless ``store`` is false."""
    return bytes(fields.get("store", b"")).strip() != b"false"


# ---------------------------------------------------------------- ids in answers


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
#: Events with the id of a response or of one of its items. All others pass undecoded.
_NAMING = (b"response.created", b"response.output_item.done", b"response.completed", b"response.incomplete")


def ids_in_body(body: bytes) -> list[str]:
    """The ids in a response to which later requests may refer."""
    try:
        return _ids(_decode_answer(body))
    except (ValueError, RecursionError):
        return []


def ids_in_events(events: bytes) -> list[str]:
    """The same for any number of complete events of a stream."""
    ids = []
    if any(word in events for word in _NAMING):
        for line in events.split(b"\n"):
            if line.startswith(b"data:") and any(word in line[:256] for word in _NAMING):
                ids += _ids_in_event(line[5:])
    return ids


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
