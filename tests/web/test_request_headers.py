"""Tests how a request's headers are read from the WSGI environment."""

from __future__ import annotations

import pytest

from flask_gateway.web.request_headers import environ_keys, header_of


def test_a_header_is_found_whatever_the_case_of_its_name() -> None:
    header = header_of({"HTTP_X_REQUEST_ID": "r"})
    assert header("x-request-id") == header("X-Request-Id") == "r"


@pytest.mark.parametrize("value", ["", " ", "\t "])
def test_a_header_without_a_value_is_missing(value: str) -> None:
    assert header_of({"HTTP_ORIGIN": value})("Origin") is None
    assert header_of({})("Origin") is None


def test_the_keys_of_several_headers() -> None:
    assert environ_keys("Origin", "x-y-z") == ("HTTP_ORIGIN", "HTTP_X_Y_Z")
