"""Values that the mock generates fit the requested schema."""

from __future__ import annotations

from typing import Any

import pytest

from flask_gateway.upstreams.mock.schema import example

NODE = {"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"type": "integer"}}, "required": ["v"]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "mock"),
        ({"type": "string", "minLength": 6}, "mockxx"),
        ({"type": "string", "maxLength": 2}, "mo"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMinimum": 1}, 2),
        ({"type": "integer", "multipleOf": 7}, 7),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 3}, 3),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"type": "array"}, []),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, [1, "mock"]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"oneOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"const": "x"}}}, "x"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"const": "x"}}}, "x"),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1]}),
        ({"type": "object"}, {}),
        (None, "mock"),
        ("x", "mock"),
        ({"type": "object", "properties": 3, "required": 4}, {}),
        ({"type": "integer", "minimum": "x", "multipleOf": 0, "maximum": 1e400}, 1),
        ({"$ref": "#/$defs/none"}, "mock"),
        ({"$ref": 3}, "mock"),
    ],
)
def test_generated_value_fits_the_schema(schema: Any, value: Any):
    if schema == {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}:
        value = example(schema)
        assert 0 < value < 1
    assert example(schema) == value


def test_recursive_schema_terminates():
    assert example(NODE)["next"]["next"]["v"] == 1
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert example(endless)
    assert example({"$ref": "#"}) == "mock"
    assert example({"anyOf": [{"$ref": "#"}]}) is None
    wide: Any = {"type": "integer"}
    for _ in range(12):
        wide = {"type": "object", "properties": {str(n): wide for n in range(8)}}
    assert example(wide)
    many = {
        "type": "array",
        "items": {"type": "array", "items": {"type": "string"}, "minItems": 1000},
        "minItems": 9,
    }
    assert len(example(many)) == 9
