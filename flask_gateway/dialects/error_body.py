"""Reads an upstream's error, whatever its shape: JSON of a dozen servers, plain text, a web page.

Nothing here says what the error means; that is ``error_meaning.py``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

#: The longest message of an upstream that is given to a caller, characters.
MAX_WORDS = 4000
#: The longest plain text that is taken for a message, characters.
MAX_TEXT = 500
#: An error object's own fields are given to a caller up to this size, bytes of JSON.
MAX_FIELDS = 8 * 1024
#: As many items of a list of complaints are read.
_MAX_ITEMS = 8
#: Errors are wrapped in errors, and JSON in strings, this deep.
_MAX_DEPTH = 5

# What moves a terminal's cursor, reorders text or ends a line unseen: C0 but tab and line feed, DEL, C1,
# the bidirectional marks, the separators of lines and paragraphs, lone surrogates.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_CODE = re.compile(r"[A-Za-z0-9][\w.\-]{0,63}")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<(title|h1)[^>]{0,200}>(.{0,300}?)</\1", re.IGNORECASE | re.DOTALL)

#: Where the words of an error stand, in the order of preference.
_WORDS_IN = ("message", "detail", "msg", "error", "errors", "error_description", "description", "Message",
             "error_msg", "error_message", "status_msg", "faultstring", "fault",
             "base_resp", "title", "reason")  # fmt: skip
#: What wraps the error itself.
_WRAPPED_IN = ("error", "errors", "fault", "base_resp", "response", "choices", "detail", "message")
#: Where its codes stand.
_CODES_IN = ("code", "type", "status", "reason", "error_type", "error_code", "errorType", "status_code",
             "__type")  # fmt: skip
#: A message that only says that there is one behind it.
_EMPTY_WORDS = re.compile(r"(?:provider|upstream) (?:returned|request) (?:an )?(?:error|failed)\.?", re.I)


class ErrorBody(NamedTuple):
    """An error as an upstream tells it.

    :param words: its message, cleaned and bounded; empty when it has none.
    :param codes: its codes, types, statuses and reasons, in lower case. No caller's text gets in here.
    :param number: the HTTP status that it names itself.
    :param fields: the error object as it came, for the caller; empty when there is none.
    :param layers: all objects that it consists of.
    :param page: the title of a web page, when it is one; what else is no JSON is plain text.
    :param text: all of it, if it is no JSON; for looking, not for showing.
    :param is_json: whether it was JSON.
    :param repeats: whether its message is JSON itself, and so perhaps the caller's.
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
    """The error in the body of an answer."""
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


def read_error(said: object) -> ErrorBody:
    """The error in parsed JSON: an error object, or what it came in (a body, an event, a list)."""
    error = _error_object(said, 0)
    layers = [error, *_layers(said, 0)]
    numbers = (_number(layer) for layer in layers)
    return ErrorBody(
        words=clean(_words(said, 0))[:MAX_WORDS],
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
    """The text without what would move a terminal's cursor or hide what it says."""
    return _CONTROL.sub(" ", text)


def presentable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An error object's fields, fit to be given to a caller: cleaned, and none when they are too many."""
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
        return {clean(str(name)): _cleaned(one, depth + 1) for name, one in value.items()}
    return [_cleaned(one, depth + 1) for one in value] if isinstance(value, list) else value


def _error_object(said: object, depth: int) -> Mapping[str, Any]:
    """The object that has the message and the code."""
    if isinstance(said, list):
        said = _first_object(said)
    if not isinstance(said, Mapping) or depth > _MAX_DEPTH:
        return {}
    for inner in (said.get("response"), *_choices(said), said):
        error = inner.get("error") if isinstance(inner, Mapping) else None
        if isinstance(error, Mapping | list) and error:
            return _error_object(error, depth + 1)
    return said


def _choices(said: Mapping[str, Any]) -> list[object]:
    choices = said.get("choices")
    return choices[:_MAX_ITEMS] if isinstance(choices, list) else []


def _first_object(items: list[Any]) -> Mapping[str, Any] | None:
    return next((one for one in items[:_MAX_ITEMS] if isinstance(one, Mapping)), None)


def _layers(said: object, depth: int) -> Iterator[Mapping[str, Any]]:
    """The objects that an error consists of, from the outermost inwards. JSON in a message is none of them:
    it may be the caller's."""
    if isinstance(said, list):
        said = _first_object(said)
    if not isinstance(said, Mapping) or depth > _MAX_DEPTH:
        return
    yield said
    for name in _WRAPPED_IN:
        yield from _layers(said.get(name), depth + 1)
    metadata = said.get("metadata")
    if isinstance(metadata, Mapping):
        raw = metadata.get("raw")
        yield from _layers(_parsed(raw) if isinstance(raw, str) else raw, depth + 1)


def _codes(layer: Mapping[str, Any]) -> Iterator[str]:
    found = [layer.get(name) for name in _CODES_IN]
    inner = layer.get("innererror")
    if isinstance(inner, Mapping):
        found.append(inner.get("code"))
    for one in layer.get("details") or () if isinstance(layer.get("details"), list) else ():
        if isinstance(one, Mapping):
            found.append(one.get("reason"))
    metadata = layer.get("metadata")
    if isinstance(metadata, Mapping):
        found.append(metadata.get("error_type"))
        if isinstance(metadata.get("reasons"), list) or "flagged_input" in metadata:
            found.append("content_flagged")  # OpenRouter's moderation has no code of its own
    yield from (one for one in found if isinstance(one, str) and _CODE.fullmatch(one))


def _number(layer: Mapping[str, Any]) -> int | None:
    for name in ("code", "status", "status_code", "statusCode", "error_code"):
        value = layer.get(name)
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is int and 400 <= value <= 599:
            return value
    return None


def _words(said: object, depth: int) -> str:
    """The message in it, however deep."""
    if depth > _MAX_DEPTH or said is None:
        return ""
    if isinstance(said, str):
        parsed = _parsed(said)
        return (_words(parsed, depth + 1) if parsed is not None else "") or said.strip()
    if isinstance(said, list):
        items = dict.fromkeys(_words(one, depth + 1) for one in said[:_MAX_ITEMS])
        return "; ".join(one for one in items if one)
    if not isinstance(said, Mapping):
        return ""
    response = said.get("response")
    if isinstance(response, Mapping) and response.get("error"):
        return _words(response["error"], depth + 1)
    if isinstance(said.get("choices"), list) and not said.get("error"):
        return _words([one.get("error") for one in said["choices"] if isinstance(one, Mapping)], depth + 1)
    wrapped = said.get("error")
    if isinstance(wrapped, Mapping | list) and wrapped:
        return _words(wrapped, depth + 1)
    words = next((found for name in _WORDS_IN if (found := _words(said.get(name), depth + 1))), "")
    return _with_place(said, _with_raw(said, words, depth))


def _with_place(said: Mapping[str, Any], words: str) -> str:
    """Pydantic's complaints say where: ``{"loc": ["body", "messages", 0], "msg": "Field required"}``."""
    place = said.get("loc")
    if not isinstance(place, list) or "msg" not in said:
        return words
    return f"{'.'.join(str(one)[:100] for one in place[:16])}: {words}"


def _with_raw(said: Mapping[str, Any], words: str, depth: int) -> str:
    """OpenRouter says "Provider returned error", and keeps the provider's own words in ``metadata.raw``."""
    metadata = said.get("metadata")
    raw = _words(metadata.get("raw"), depth + 1) if isinstance(metadata, Mapping) else ""
    if not raw:
        return words
    return raw if not words else f"{words.rstrip('.')}: {raw}" if _EMPTY_WORDS.fullmatch(words) else words


def _parsed(text: object) -> object:
    """What JSON in a string says; ``None`` when it is none."""
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
