"""Makes the key of an answer: a digest of all that may tell two answers apart.

It takes the values of the body's fields as the bytes that the caller sent. Two bodies that mean the same may
not mean the same to an upstream, and programs write the same bytes every time.
"""

from __future__ import annotations

from hashlib import sha256

from ..config.cache_settings import CacheShare
from ..model.call import Call, Caller

#: Raised when the form of keys or entries changes: then no kept answer is found.
VERSION = "1"
#: Fields that say who asks, or for which bill, and do not change an answer.
IGNORED = frozenset({"model", "user", "metadata", "safety_identifier", "prompt_cache_key"})


def owner_of(caller: Caller, share: CacheShare) -> str:
    """The name of those who get the same answers: one key, one team, or all."""
    if share is CacheShare.ALL:
        return "all"
    return f"team:{caller.team}" if share is CacheShare.TEAM and caller.team else f"key:{caller.id}"


def key_of(call: Call, owner: str, route: bytes, ignored: frozenset[str]) -> bytes:
    """The key of the answer to a call, 32 bytes.

    :param route: a digest of the model's name and its route. :param ignored: fields that tell nothing apart.
    """
    shape = "stream" if call.stream else "whole"
    fallbacks = "" if call.fallbacks is None else repr(call.fallbacks)
    texts = [VERSION, owner, call.operation.value, shape, fallbacks, call.query]
    for header in sorted(call.headers):
        texts += (header, call.headers[header])
    parts: list[bytes | memoryview] = [route, *(text.encode() for text in texts), b""]
    for name in sorted(call.fields.keys() - ignored):
        parts += (name.encode(), memoryview(call.fields[name]))
    # Each part has its length before it, so no two lists of parts have the same bytes.
    return sha256(b"".join([b"%d:%b" % (len(part), bytes(part)) for part in parts])).digest()
