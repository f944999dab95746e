"""Tests the limits on the structure of a JSON body: depth, names, parts and numbers."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kit.json_shapes import refuses

from flask_gateway.model.errors import InvalidJson
from flask_gateway.web import json_limits
from flask_gateway.web.json_limits import MAX_DEPTH, MAX_DIGITS, MAX_NAMES, MAX_PARTS, check_shape
from flask_gateway.web.request_body import parse_fields


def deep(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_depth(pair: str):
    assert not refuses(deep(MAX_DEPTH, *pair))
    assert refuses(deep(MAX_DEPTH + 1, *pair))


def test_depth_of_alternating_lists_and_objects():
    for depth in (MAX_DEPTH, MAX_DEPTH + 1):
        value: Any = 1
        for level in range(depth):
            value = [value] if level % 2 else {"a": value}
        assert refuses(json.dumps(value).encode()) == (depth > MAX_DEPTH)


@pytest.mark.parametrize(
    "body", [b'{"a": ', b'{"a": 1, "b": [', b"[" * 9, b'{"a":' * MAX_DEPTH, b"]", b'{"a": [1, 2], "b": {']
)
def test_a_truncated_body_is_left_to_the_parser(body: bytes):
    """The parser reports the error."""
    check_shape(body)
    with pytest.raises(InvalidJson) as caught:
        parse_fields(body)
    assert "nested" not in caught.value.message


def test_siblings_add_no_depth():
    assert not refuses(b"[" + b",".join([deep(MAX_DEPTH - 1)] * 500) + b"]")


@pytest.mark.parametrize("text", ["[" * 1000, "{" * 1000 + '"' * 99, '\\"[', '\\\\"' * 70 + "[" * 99, "\\"])
def test_brackets_in_strings_add_no_depth(text: str):
    assert not refuses(json.dumps({"a": [text, text]}).encode())
    assert refuses(json.dumps({"a": text}).encode()[:-1] + b',"b":' + deep(MAX_DEPTH) + b"}")


def names(count: int) -> dict[str, int]:
    return {f"n{index}": index for index in range(count)}


def test_an_object_with_too_many_names_is_refused():
    assert not refuses(json.dumps({"a": names(MAX_NAMES), "b": [names(MAX_NAMES)]}).encode())
    assert refuses(json.dumps({"a": names(MAX_NAMES + 1)}).encode())
    # Also if other objects come before, between and after the names.
    assert refuses(json.dumps({**names(MAX_NAMES), "x": {"y": [{}]}}).encode())
    assert refuses(json.dumps({"x": {"y": [{"z": 1}]}, **names(MAX_NAMES)}).encode())


def test_a_body_with_too_many_parts_is_refused():
    assert refuses(b"[" + b",".join([b'""'] * (MAX_PARTS + 1)) + b"]")
    assert refuses(b"[" + b",".join([b"[]"] * MAX_PARTS) + b"]")
    assert not refuses(b"[" + b",".join([b'["a"]'] * (MAX_PARTS // 2)) + b"]")
    assert not refuses(json.dumps(['"' * 3 * MAX_PARTS]).encode())
    assert not refuses(json.dumps(list(range(5 * MAX_PARTS))).encode())


@pytest.mark.parametrize(
    "number",
    ["1e999", "-1e999", "1E+309", "1.8e308", "0.1e310", "9" * 310, "1" + "0" * 300 + "e10", "1e" + "9" * 99],
)
def test_numbers_too_large_for_a_double_are_refused(number: str):
    assert refuses(f'{{"a":[true,{number}]}}'.encode())
    assert not refuses(f'{{"a":"{number}"}}'.encode())


@pytest.mark.parametrize(
    "number", ["1.7976931348623157e308", "1e-999", "-0", "1e5", "9" * MAX_DIGITS, "123456789012345678901234"]
)
def test_numbers_that_pass(number: str):
    assert not refuses(f'{{"a":[false,null,{number}]}}'.encode())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(values, st.booleans(), st.booleans())
@example({'"': ['\\"', "\\\\", '[{"']}, True, False)
def test_json_of_a_usual_shape_passes(value: Any, ascii_only: bool, indented: bool):
    text = json.dumps({"value": value}, ensure_ascii=ascii_only, indent=2 if indented else None)
    check_shape(text.encode("utf-8", "surrogatepass"))


@given(values, st.integers(1, 30))
def test_depth_is_found_after_any_strings(value: Any, extra: int):
    body = json.dumps([value]).encode()[:-1] + b"," + deep(MAX_DEPTH + extra - 1) + b"]"
    assert refuses(body)


@given(st.binary(max_size=200))
def test_invalid_json_is_refused_or_left_to_the_parser(body: bytes):
    refuses(body)


#: The most CPU time for the whole of a body, milliseconds.
MOST = 100


def cost(body: bytes) -> float:
    """The least CPU time for the whole body, milliseconds, of at most five attempts."""
    best = math.inf
    for _ in range(5):
        if best * 1000 < MOST:
            break
        begun = time.process_time()
        with suppress(InvalidJson):
            parse_fields(body)
        best = min(best, time.process_time() - begun)
    return best * 1000


# Functions: the bodies are made when they are needed, not when the tests are collected.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "a million brackets": lambda: b"[" * 1_000_000,
    "a million names": lambda: json.dumps(names(1_000_000)).encode(),
    "a text of ten megabytes": lambda: json.dumps({"a": "x" * 10_000_000}).encode(),
    "depth, many times": lambda: b'{"a":[' + b",".join([deep(62)] * 1500) + b"]}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_body_takes_a_tenth_of_a_second(name: str):
    assert cost(HOSTILE[name]()) < MOST


def test_a_short_body_gets_the_verdict_of_the_full_check(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [b"{", b"}", b"[", b"]", b":", b",", b'"a"', b'"1e9"', b"1e999", b"12E400", b"-1e-5", b"9" * 310]
    parts += [b"0.5", b"true", b'"[{:"', b"[" * 10, b"[" * 64, b"]" * 64]
    rng = random.Random(5)
    bodies = [b"".join(rng.choice(parts) for _ in range(rng.randrange(1, 40))) for _ in range(5000)]
    verdicts = list(map(_verdict, bodies))
    monkeypatch.setattr(json_limits, "SHORT", 0)  # every body is too long for the short way
    assert verdicts == list(map(_verdict, bodies))
    assert None in verdicts


def _verdict(body: bytes) -> str | None:
    try:
        check_shape(body)
    except InvalidJson as error:
        return error.message
    return None
