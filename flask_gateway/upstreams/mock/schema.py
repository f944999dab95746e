"""Generates a value that fits a JSON schema, for structured answers and the arguments of tools.

It covers what the SDKs write: objects, lists, choices, references, bounds, formats. It ignores patterns.
"""

from __future__ import annotations

import math
from typing import Any

#: Beyond this depth, and after this many values, only required fields are generated.
MAX_DEPTH, MAX_VALUES = 6, 500
#: Beyond this depth generation fails: the schema requires itself recursively.
GIVE_UP, ALL_VALUES = 24, 5000

_TEXT = "mock"
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "mock@example.org",
    "hostname": "example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def example(schema: Any) -> Any:
    """Generate the value. An invalid schema counts as one that allows everything."""
    return _Maker(schema).make(schema, 0)


class _Maker:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._made = 0

    def make(self, schema: Any, depth: int) -> Any:
        self._made += 1
        if depth > GIVE_UP or self._made > ALL_VALUES:
            return None
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        for name in ("anyOf", "oneOf"):
            if isinstance(schema.get(name), list) and schema[name]:
                return self._choice(schema, schema[name], depth)
        return self._of_type(_type(schema), schema, depth)

    def _choice(self, schema: dict[str, Any], choices: list[Any], depth: int) -> Any:
        """Return the first alternative; in deep schemas ``null``, if that is an alternative."""
        if self._is_enough(depth):
            choices = sorted(choices, key=lambda one: self._resolved(one).get("type") != "null")
        rest = {name: value for name, value in schema.items() if name not in ("anyOf", "oneOf")}
        return self.make({**rest, **self._resolved(choices[0])}, depth + 1)

    def _of_type(self, kind: Any, schema: dict[str, Any], depth: int) -> Any:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        return None if kind == "null" else _text(schema)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, dict):
            return {}
        names = list(properties)
        if self._is_enough(depth):
            names = [name for name in names if isinstance(required, list) and name in required]
        return {name: self.make(properties[name], depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least, first = _whole(schema, "minItems", 0), schema.get("prefixItems")
        if isinstance(first, list) and first:
            return [self.make(one, depth + 1) for one in first[:MAX_VALUES]]
        if "items" not in schema or _whole(schema, "maxItems", 1) < 1:
            return []
        count = min(least if self._is_enough(depth) else max(1, least), MAX_VALUES)
        return [self.make(schema["items"], depth + 1) for _ in range(count)]

    def _is_enough(self, depth: int) -> bool:
        return depth > MAX_DEPTH or self._made > MAX_VALUES

    def _resolved(self, schema: Any) -> dict[str, Any]:
        """Resolve the schema's references and merge the parts of ``allOf``."""
        for _ in range(GIVE_UP):
            if not isinstance(schema, dict):
                return {}
            if isinstance(schema.get("$ref"), str):
                rest = {name: value for name, value in schema.items() if name != "$ref"}
                schema = {**self._referred(schema["$ref"]), **rest}
            elif isinstance(schema.get("allOf"), list):
                rest = {name: value for name, value in schema.items() if name != "allOf"}
                schema = _together([*map(self._resolved_once, schema["allOf"]), rest])
            else:
                return schema
        return {}

    def _resolved_once(self, schema: Any) -> dict[str, Any]:
        if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"])
        return schema if isinstance(schema, dict) else {}

    def _referred(self, reference: str) -> dict[str, Any]:
        node = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            node = node.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}


def _together(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for schema in schemas:
        for name, value in schema.items():
            old = merged.get(name)
            if isinstance(old, dict) and isinstance(value, dict):
                merged[name] = {**old, **value}
            elif isinstance(old, list) and isinstance(value, list) and name == "required":
                merged[name] = [*old, *value]
            else:
                merged[name] = value
    return merged


def _type(schema: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    return kind or ("object" if "properties" in schema else "array" if "items" in schema else "string")


def _text(schema: dict[str, Any]) -> str:
    kind = schema.get("format")
    text = _FORMATS.get(kind, _TEXT) if isinstance(kind, str) else _TEXT
    text = text.ljust(min(_whole(schema, "minLength", 0), 10_000), "x")
    return text[: _whole(schema, "maxLength", len(text))]


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    least, most = _bound(schema, "minimum"), _bound(schema, "maximum")
    over, under = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum")
    step = _bound(schema, "multipleOf") or (1 if whole else 0)
    value = 1.0
    if under is not None and value >= under:
        value = math.ceil(under) - 1
    if most is not None and value > most:
        value = most
    if over is not None and value <= over:
        value = math.floor(over) + 1 if whole or under is None else (over + under) / 2
    if least is not None and value < least:
        value = least
    if step > 0:
        value = math.ceil(value / step) * step
    # 1 and not 1.0: many clients expect a count.
    return int(value) if whole or value == int(value) else value


def _bound(schema: dict[str, Any], name: str) -> float | None:
    value = schema.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e15 else None


def _whole(schema: dict[str, Any], name: str, default: int) -> int:
    value = schema.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
