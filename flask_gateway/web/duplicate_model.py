"""Finds bodies that name the model twice. Our decoder keeps the last name, some upstreams the first."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..model.large_json import Texts, slices

_NAMED = b'"model"'
#: The longest way to write ``model``: each letter as an escape.
_LONGEST = len("model") * len("\\u006d")


#: A body of so many bytes takes longer to search than to add up its fields.
LONG = 16 * 1024
#: The shortest field that may come again.
_SHORTEST = len('"model":0,')


def names_model_twice(body: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the top level has ``model`` more than once.

    :param body: JSON, an object. :param fields: its fields, each name once.
    """
    return not _has_no_room(body, fields) and _may_repeat(body) and _count(body) > 1


def _has_no_room(body: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether a long body has too few bytes besides these fields for one more. It takes no time per byte."""
    if len(body) < LONG:
        return False
    # Each name has two quotes, a colon, and a comma or the last brace. Other writings of it are longer.
    known = 1 + sum(len(name) + memoryview(value).nbytes + 4 for name, value in fields.items())
    return len(body) - known < _SHORTEST


def _may_repeat(body: bytes) -> bool:
    """A cheap first test. Every letter of ``model`` escapes as ``\\u006…``, which clients hardly ever do."""
    return body.find(_NAMED) != body.rfind(_NAMED) or (body.find(b"\\") >= 0 and b"\\u006" in body)


def _count(body: bytes) -> int:
    texts, count, depth = Texts(), 0, 0
    #: The last string at the top level, while only blanks have followed it.
    text: bytes | None = None
    for piece in slices(body):
        inside = texts.inside
        for part in texts.split(piece):
            if not inside:
                if text is not None and (after := part.lstrip()):
                    count += after.startswith(b":") and _is_model(text)
                    text = None
                depth += part.count(b"{") + part.count(b"[") - part.count(b"}") - part.count(b"]")
            elif depth == 1:
                text = (text or b"")[:_LONGEST] + part[:_LONGEST]
            inside = not inside
    return count


def _is_model(name: bytes) -> bool:
    """:param name: as written in the body, possibly truncated."""
    if b"\\" not in name or len(name) > _LONGEST:
        return name == b"model"
    try:
        return bool(msgspec.json.decode(b'"%b"' % name) == "model")
    except msgspec.DecodeError:
        return False
