"""Leaves out reasoning that another provider wrote, before Anthropic sees it.

Reasoning of a chat upstream comes to callers as ``thinking`` with an empty signature, and they send it back.
Anthropic refuses a request with it. Blocks with a signature are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..model.call import Call
from .translations.carried_state import MARK

Raw = msgspec.Raw


class _Block(msgspec.Struct):
    type: str = ""
    signature: str | None = None
    data: str = ""


_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_message = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_block = msgspec.json.Decoder(_Block).decode
_MARKS = (b'"signature"', b'"gw1.')


def signed_only(call: Call) -> Call:
    """Return the call without thinking that has an empty signature; the very same call if there is none."""
    raw = bytes(call.fields.get("messages", b""))
    if not _is_marked(raw):
        return call
    try:
        messages = _decode_list(raw)
        kept = list(_kept(messages))
    except (ValueError, RecursionError):
        return call  # the upstream refuses it in its own words
    if kept == messages:
        return call
    fields = {**call.fields, "messages": Raw(msgspec.json.encode(kept))}
    return msgspec.structs.replace(call, fields=fields)


def _kept(messages: list[msgspec.Raw]) -> Iterator[msgspec.Raw]:
    for message in messages:
        if not _is_marked(bytes(message)):
            yield message
            continue
        fields = _decode_message(message)
        content = fields.get("content", Raw(b"null"))
        blocks = _decode_list(content) if bytes(content)[:1] == b"[" else []
        signed = [block for block in blocks if not _is_foreign(block)]
        if len(signed) == len(blocks):
            yield message
        elif signed:  # a message of foreign reasoning alone says nothing more
            yield Raw(msgspec.json.encode({**fields, "content": signed}))


def _is_foreign(raw: msgspec.Raw) -> bool:
    block = _decode_block(raw)
    if block.type == "redacted_thinking":
        return block.data.startswith(MARK)
    return block.type == "thinking" and not block.signature


def _is_marked(data: bytes) -> bool:
    return any(mark in data for mark in _MARKS)
