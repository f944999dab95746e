"""Reads an upstream's error, whatever its shape: JSON of a dozen servers, plain text, a web page.

``error_meaning.py`` decides what the error means.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

#: The longest message of an upstream that a caller sees, characters.
MAX_WORDS = 4000
#: The longest plain text that is used as a message, characters.
MAX_TEXT = 500
#: A caller sees an error object's own fields up to this size, bytes of JSON.
MAX_FIELDS = 8 * 1024
#: At most this many items of a list of errors are read.
_MAX_ITEMS = 8
#: Errors inside errors, and JSON inside strings, are read this deep.
_MAX_DEPTH = 5

# Characters that move a terminal's cursor, reorder text or end a line invisibly: C0 except tab and line feed,
# DEL, C1, the bidirectional marks, the separators of lines and paragraphs, lone surrogates.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_CODE = re.compile(r"[A-Za-z0-9][\w.\-]{0,63}")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<(title|h1)[^>]{0,200}>(.{0,300}?)</\1", re.IGNORECASE | re.DOTALL)

#: Fields that hold an error's message, in the order of preference.
_WORDS_IN = ("message", "detail", "msg", "error", "errors", "error_description", "description", "Message",
             "error_msg", "error_message", "status_msg", "faultstring", "fault",
             "base_resp", "title", "reason")  # fmt: skip
#: Fields that hold the error itself inside an outer object.
_WRAPPED_IN = ("error", "errors", "fault", "base_resp", "response", "choices", "detail", "message")
#: Fields that hold its codes.
_CODES_IN = ("code", "type", "status", "reason", "error_type", "error_code", "errorType", "status_code",
             "__type")  # fmt: skip
#: A message that only announces another one.
_EMPTY_WORDS = re.compile(r"(?:provider|upstream) (?:returned|request) (?:an )?(?:error|failed)\.?", re.I)


class ErrorBody(NamedTuple):
    """The error in an upstream's answer.

    :param words: its message, cleaned and bounded; empty when it has none.
    :param codes: its codes, types, statuses and reasons, in lower case. They never hold a caller's text.
    :param number: the HTTP status that the error names in its own fields.
    :param fields: the error object as it came, for the caller; empty when there is none.
    :param layers: all objects that the error consists of.
    :param page: the title of a web page, when the body is one. Any other body that is no JSON is plain text.
    :param text: the whole body, if it is no JSON; for matching, never shown.
    :param is_json: whether it was JSON.
    :param repeats: whether its message is itself JSON, and so may be the caller's text.
    """

    words: str = ""
    codes: frozenset[str] = frozenset()
    number: int | None = None
    fields: Mapping[str, Any] = {}
    layers: tuple[Mapping[str, Any], ...] = ()
    page: str | None = None
    text: str = ""
    is_json: bool = False
    repeats: bool = False


def read_error_body(body: bytes) -> ErrorBody:
    """Read the error in the body of an answer."""
    try:
        return read_error(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        pass
    text = body[: 16 * 1024].decode("utf-8", "replace")
    if _PAGE.match(body[:4096]):
        title = _TITLE.search(text)
        words = clean(" ".join(html.unescape(title[2]).split()) if title else "")[:100]
        return ErrorBody(words=words, page=words, text=text)
    text = clean(text.strip())
    return ErrorBody(words=text[:MAX_TEXT], text=text)


def read_error(document: object) -> ErrorBody:
    """Read the error in decoded JSON: an error object, or the body, event or list around it."""
    error = _error_object(document, 0)
    layers = [error, *_layers(document, 0)]
    numbers = (_number(layer) for layer in layers)
    return ErrorBody(
        words=clean(_words(document, 0))[:MAX_WORDS],
        codes=frozenset(code.lower() for layer in layers for code in _codes(layer)),
        number=next((number for number in numbers if number is not None), None),
        fields={name: value for name, value in error.items() if name not in ("error", "detail")},
        layers=tuple(layers),
        is_json=True,
        repeats=any(
            _parsed(layer.get(name)) is not None for layer in layers for name in ("message", "error")
        ),
    )


def clean(text: str) -> str:
    """Replace characters that move a terminal's cursor or hide text."""
    return _CONTROL.sub(" ", text)


def presentable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error object's fields for the caller: cleaned, and only the short ones when too large."""
    cleaned = {clean(str(name)): _cleaned(value, 0) for name, value in fields.items()}
    if len(msgspec.json.encode(cleaned)) <= MAX_FIELDS:
        return cleaned
    return {name: cleaned[name] for name in ("type", "param", "code") if _is_short(cleaned.get(name))}


def _is_short(value: object) -> bool:
    return isinstance(value, str | int) and len(str(value)) <= 200


def _cleaned(value: object, depth: int) -> object:
    if isinstance(value, str):
        return clean(value)
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {clean(str(name)): _cleaned(item, depth + 1) for name, item in value.items()}
    return [_cleaned(item, depth + 1) for item in value] if isinstance(value, list) else value


def _error_object(document: object, depth: int) -> Mapping[str, Any]:
    """Return the object that has the message and the code."""
    if isinstance(document, list):
        document = _first_object(document)
    if not isinstance(document, Mapping) or depth > _MAX_DEPTH:
        return {}
    for inner in (document.get("response"), *_choices(document), document):
        error = inner.get("error") if isinstance(inner, Mapping) else None
        if isinstance(error, Mapping | list) and error:
            return _error_object(error, depth + 1)
    return document


def _choices(document: Mapping[str, Any]) -> list[object]:
    choices = document.get("choices")
    return choices[:_MAX_ITEMS] if isinstance(choices, list) else []


def _first_object(items: list[Any]) -> Mapping[str, Any] | None:
    return next((item for item in items[:_MAX_ITEMS] if isinstance(item, Mapping)), None)


def _layers(document: object, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that an error consists of, from the outermost inwards.

    JSON in a message is left out: it may be the caller's text.
    """
    if isinstance(document, list):
        document = _first_object(document)
    if not isinstance(document, Mapping) or depth > _MAX_DEPTH:
        return
    yield document
    for name in _WRAPPED_IN:
        yield from _layers(document.get(name), depth + 1)
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping):
        raw = metadata.get("raw")
        yield from _layers(_parsed(raw) if isinstance(raw, str) else raw, depth + 1)


def _codes(layer: Mapping[str, Any]) -> Iterator[str]:
    codes = [layer.get(name) for name in _CODES_IN]
    inner = layer.get("innererror")
    if isinstance(inner, Mapping):
        codes.append(inner.get("code"))
    for item in layer.get("details") or () if isinstance(layer.get("details"), list) else ():
        if isinstance(item, Mapping):
            codes.append(item.get("reason"))
    metadata = layer.get("metadata")
    if isinstance(metadata, Mapping):
        codes.append(metadata.get("error_type"))
        if isinstance(metadata.get("reasons"), list) or "flagged_input" in metadata:
            codes.append("content_flagged")  # OpenRouter's moderation has no code of its own
    names = (item.rpartition("#")[2] for item in codes if isinstance(item, str))  # AWS: namespace#Code
    yield from (name for name in names if _CODE.fullmatch(name))


def _number(layer: Mapping[str, Any]) -> int | None:
    for name in ("code", "status", "status_code", "statusCode", "error_code"):
        value = layer.get(name)
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is int and 400 <= value <= 599:
            return value
    return None


def _words(document: object, depth: int) -> str:
    """Return the message of an error, at any depth."""
    if depth > _MAX_DEPTH or document is None:
        return ""
    if isinstance(document, str):
        parsed = _parsed(document)
        return (_words(parsed, depth + 1) if parsed is not None else "") or document.strip()
    if isinstance(document, list):
        items = dict.fromkeys(_words(item, depth + 1) for item in document[:_MAX_ITEMS])
        return "; ".join(item for item in items if item)
    if not isinstance(document, Mapping):
        return ""
    response = document.get("response")
    if isinstance(response, Mapping) and response.get("error"):
        return _words(response["error"], depth + 1)
    if isinstance(document.get("choices"), list) and not document.get("error"):
        return _words(
            [item.get("error") for item in document["choices"] if isinstance(item, Mapping)], depth + 1
        )
    wrapped = document.get("error")
    if isinstance(wrapped, Mapping | list) and wrapped:
        return _words(wrapped, depth + 1)
    words = next((text for name in _WORDS_IN if (text := _words(document.get(name), depth + 1))), "")
    return _with_place(document, _with_raw(document, words, depth))


def _with_place(document: Mapping[str, Any], words: str) -> str:
    """Add the place that Pydantic names: ``{"loc": ["body", "messages", 0], "msg": "Field required"}``."""
    place = document.get("loc")
    if not isinstance(place, list) or "msg" not in document:
        return words
    return f"{'.'.join(str(part)[:100] for part in place[:16])}: {words}"


def _with_raw(document: Mapping[str, Any], words: str, depth: int) -> str:
    """Add the provider's message, which OpenRouter puts into ``metadata.raw``."""
    metadata = document.get("metadata")
    raw = _words(metadata.get("raw"), depth + 1) if isinstance(metadata, Mapping) else ""
    if not raw:
        return words
    return raw if not words else f"{words.rstrip('.')}: {raw}" if _EMPTY_WORDS.fullmatch(words) else words


def _parsed(text: object) -> object:
    """Decode JSON in a string; ``None`` when it is not JSON."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    if text[:1] not in ("{", "["):
        return None
    try:
        parsed: object = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
    return parsed
