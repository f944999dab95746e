"""Tests the values of answers: what a finish reason means, what is an error, what is content."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_gateway.dialects.values import (
    MAX_MENDED,
    Ending,
    ending,
    error_in,
    error_of_choice,
    is_error,
    is_idle_text,
    is_sign_of_life,
    mend,
    says,
)


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        (None, Ending.NOT_YET),
        ("", Ending.NOT_YET),
        (" NULL ", Ending.NOT_YET),
        ({"type": None}, Ending.NOT_YET),
        ("stop", Ending.WELL),
        ({"type": "length"}, Ending.WELL),
        (1, Ending.WELL),
        ("a_reason_of_tomorrow", Ending.WELL),
        ("Error", Ending.BROKEN),
        ("network_error", Ending.BROKEN),
        ({"type": "abort"}, Ending.BROKEN),
    ],
)
def test_a_finish_reason(reason: Any, meaning: Ending) -> None:
    assert ending(reason) is meaning


def test_a_broken_choice_names_its_reason_within_bounds() -> None:
    assert error_of_choice({"code": 502}, "stop") == {"code": 502}
    assert error_of_choice(None, "stop") is None
    found = error_of_choice(None, {"type": "error"})
    assert found == {"code": "error", "message": "The model stopped with finish_reason 'error'."}


@pytest.mark.parametrize("value", [None, "", [], {}, {"type": "text", "text": ""}, [{"type": "x"}], [[None]]])
def test_a_value_that_says_nothing(value: Any) -> None:
    assert not says(value)


@pytest.mark.parametrize("value", ["a", 0, False, {"type": "text", "text": "a"}, [[[[[[""]]]]]]])
def test_a_value_that_says_something(value: Any) -> None:
    assert says(value)


@pytest.mark.parametrize("kind", ["ping", "response.keepalive", "response.keep_alive", "rate_limits"])
def test_a_sign_of_life(kind: str) -> None:
    assert is_sign_of_life(kind)
    assert not is_sign_of_life("response.output_text.delta")


def test_idle_texts() -> None:
    assert is_idle_text(b": ping")
    assert is_idle_text(b'"heartbeat"')
    assert not is_idle_text(b"Internal Server Error")
    assert not is_idle_text(b" " * 64)


@pytest.mark.parametrize(
    "document",
    [
        {"error": "x"},
        {"error": {"message": "x"}},
        [{"error": {"code": 503}}],
        {"object": "error", "message": "x"},
        {"type": "error"},
        {"base_resp": {"status_code": 1002}},
        {"detail": "x"},
        {"code": 500, "message": "x"},
    ],
)
def test_an_error_of_some_server(document: Any) -> None:
    assert error_in(document) is not None


@pytest.mark.parametrize(
    "document",
    [
        None,
        "error",
        [1],
        {},
        {"error": None},
        {"error": {}},
        {"error": {"code": 0}, "choices": []},
        {"choices": [], "message": "x", "code": 500},
        {"code": 200, "message": "queued"},
        {"code": "0", "message": "ok"},
    ],
)
def test_no_error(document: Any) -> None:
    assert error_in(document) is None


def test_an_error_with_a_type_is_one_though_it_says_nothing() -> None:
    assert is_error({"type": "overloaded"})
    assert not is_error({"message": ""})


def test_json_as_python_writes_it_is_mended() -> None:
    mended = mend(b'{"a": [-Infinity, NaN, Infinity], "b": "\\ud83d \xff"}')
    assert mended is not None
    text, value = mended
    assert json.loads(text) == value | {"b": value["b"]}
    assert value["a"] == [-9999.0, None, None]


@pytest.mark.parametrize("data", [b"[NaN]", b"{", b"", b'{"a": NaN' + b"}" * 2, b"[" * 100_000])
def test_some_data_cannot_be_mended(data: bytes) -> None:
    assert mend(data) is None
    assert mend(b'{"a":"' + b"x" * MAX_MENDED + b'"}') is None
