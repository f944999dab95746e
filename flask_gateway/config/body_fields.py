"""Checks the fields that the settings write into a request body: ``set`` and ``default`` of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import InvalidValue
from .value_types import BaseType

#: The longest value, bytes of JSON.
MOST_BYTES = 64 * 1024

#: Fields that the gateway itself decides on, each with the reason.
_REFUSED: Mapping[str, str] = {
    "model": "the candidate's model is set in upstream, model or tiers",
    "stream": "the caller decides on it",
    "stream_options": "the gateway asks for usage itself",
    "fallbacks": "write fallbacks = [...] in the table of the model",
    **dict.fromkeys(
        ("api_base", "api_key", "api_url", "base_url", "endpoint"),
        "the address and the key belong to the upstream",
    ),
}


class BodyFields(BaseType, frozen=True):
    """A table of fields for the body of a call, parsed to the JSON text of each; in the file only."""

    def check(self, value: object) -> Mapping[str, bytes]:
        if not isinstance(value, dict):
            raise InvalidValue(self.expected)
        return {name: self._encoded(name, field) for name, field in value.items()}

    def _encoded(self, name: str, value: object) -> bytes:
        if name in _REFUSED:
            raise InvalidValue(self.expected, f"{name} is not allowed there: {_REFUSED[name]}")
        encoded = msgspec.json.encode(value) if is_json(value) else b""
        if not 0 < len(encoded) <= MOST_BYTES:
            raise InvalidValue(self.expected, f"see {name}: JSON has no such value, or it is too long")
        return encoded


def is_json(value: Any) -> bool:
    """Whether JSON can express a value of TOML: dates and infinite numbers have no counterpart."""
    if isinstance(value, dict):
        return all(map(is_json, value.values()))
    if isinstance(value, list):
        return all(map(is_json, value))
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


BODY_FIELDS = BodyFields('a table of fields of the body, such as { reasoning_effort = "high" }')
