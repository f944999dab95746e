"""Provides what translations of requests share: reading JSON without decoding its values, and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from hashlib import sha256
from typing import Any

import msgspec

from ...model.call import Call, Operation
from ...model.errors import InvalidField, UnsupportedField
from ...model.quirks import TranslationTarget, Unsupported

Raw = msgspec.Raw
#: The values of an object as they were written.
Fields = Mapping[str, msgspec.Raw]

NULL = Raw(b"null")
TRUE, FALSE, EMPTY = Raw(b"true"), Raw(b"false"), Raw(b'""')

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
#: Numbers longer than this, bytes, are no counts.
_LONGEST_NUMBER = 32


def encoded(value: Any) -> msgspec.Raw:
    """Encode a value. Raw values within it keep their bytes."""
    return Raw(msgspec.json.encode(value))


def first(raw: msgspec.Raw) -> bytes:
    """The first byte of a value: it tells texts, lists, objects and null apart."""
    return bytes(memoryview(raw)[:1])


def is_text(raw: msgspec.Raw) -> bool:
    return first(raw) == b'"'


def object_of(raw: msgspec.Raw, path: str) -> dict[str, msgspec.Raw]:
    """The values of an object, without those that are null.

    :raises InvalidField: it is none.
    """
    try:
        return {name: value for name, value in _decode_object(raw).items() if first(value) != b"n"}
    except (ValueError, RecursionError):
        raise InvalidField(f"'{path}' must be an object.", param=path) from None


def list_of(raw: msgspec.Raw, path: str) -> list[msgspec.Raw]:
    """:raises InvalidField: it is no list."""
    try:
        return _decode_list(raw)
    except (ValueError, RecursionError):
        raise InvalidField(f"'{path}' must be a list.", param=path) from None


def text_of(raw: msgspec.Raw | None, path: str) -> str:
    """:raises InvalidField: it is no text, or missing."""
    try:
        return _decode_text(raw)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise InvalidField(f"'{path}' must be a text.", param=path) from None


def number_of(raw: msgspec.Raw | None) -> int | None:
    """A whole number; ``None`` if the value is none."""
    data = b"" if raw is None else bytes(memoryview(raw)[:_LONGEST_NUMBER])
    try:
        value = float(data)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


class FieldRefusals:
    """Refuses or drops the fields of one request that the upstream's API has no place for."""

    def __init__(self, call: Call, spoken: Operation, target: TranslationTarget) -> None:
        self._asked = call.operation
        self._spoken = spoken
        self._target = target
        #: The paths that were dropped.
        self.left_out: list[str] = []

    def refuse(self, path: str, hint: str = "") -> None:
        """Leave the field out, if the settings say so.

        :param hint: what would help, as a sentence.
        :raises UnsupportedField: they do not.
        """
        if self._target.quirks.unsupported is not Unsupported.DROP:
            setting = f'unsupported = "drop" in [upstreams.{self._target.upstream}] leaves it out.'
            raise self.error(path, f"{hint} {setting}".strip())
        self.drop(path)

    def beyond(self, fields: Fields, known: Set[str], path: str) -> None:
        """Refuse the fields of an object that are not known. :raises UnsupportedField: there is one."""
        for name in fields.keys() - known:
            self.refuse(f"{path}.{name}")

    def drop(self, path: str) -> None:
        """Leave the field out, whatever the settings say."""
        self.left_out.append(path)

    def error(self, path: str, hint: str) -> UnsupportedField:
        """The refusal of a field that cannot be left out without changing the meaning of the rest."""
        name = self._target.upstream
        return UnsupportedField(
            f"'{path}' cannot be sent to the upstream '{name}': it takes /v1/{self._spoken}, which has no "
            f"place for it, and the call came at /v1/{self._asked}. {hint}",
            param=path,
            upstream=name,
        )


_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}").fullmatch


def tool_id(identifier: str, *, short: bool) -> str:
    """The id of a tool call for the upstream: the same for the call and for its result.

    An id that the upstream would refuse becomes a digest of it.

    :param short: it must be 9 letters and digits, as Mistral wants.
    """
    if (_SHORT_ID if short else _SAFE_ID)(identifier):
        return identifier
    digest = sha256(identifier.encode()).hexdigest()
    return digest[:9] if short else f"call_{digest[:24]}"
