"""Compares our response heads with gunicorn's, although we validate each header name only once."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.body import LengthReader
from gunicorn.http.unreader import Unreader
from hypothesis import given
from hypothesis import strategies as st

from flask_gateway.server import client_connection
from flask_gateway.server.client_connection import ResponseWriter

Headers = list[tuple[str, str]]


class Request:
    method = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body = SimpleNamespace(reader=LengthReader(Unreader(), 0), failed=False)

    def __init__(self, version: tuple[int, int], closes: bool) -> None:
        self.version = version
        self.must_close = closes

    def should_close(self) -> bool:
        return self.must_close or self.version <= (1, 0)


def head(kind: type[Any], headers: Headers, version: tuple[int, int], closes: bool) -> Any:
    response = kind(Request(version, closes), None, Config())
    try:
        response.start_response("200 OK", headers)
    except Exception as error:
        return type(error)
    lines = [*response.default_headers(), *(f"{name}: {value}\r\n" for name, value in response.headers)]
    text = re.sub("Date: [^\r]*", "Date: now", "".join(lines))
    return text, response.response_length, response.chunked, response.should_close()


NAMES = st.sampled_from(
    [
        "x-request-id",
        "Content-Type",
        "Content-Length",
        "Connection",
        "Upgrade",
        "Keep-Alive",
        "X-A",
        "bad name",
    ]
)
VALUES = st.one_of(
    st.sampled_from(["5", "close", "upgrade", "websocket", " padded\t", "", "a\r\nb: c", "a\0", "é", "日本"]),
    st.text(max_size=8),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from([(1, 0), (1, 1)]), st.booleans())
def test_a_response_head_equals_gunicorns(headers: Headers, version: tuple[int, int], closes: bool) -> None:
    upgrades = any(
        name == "Connection" and value.strip(" \t").lower() == "upgrade" for name, value in headers
    )
    theirs = head(wsgi.Response, headers, version, closes)
    for _ in range(2):  # the second time from the cache
        ours = head(ResponseWriter, headers, version, closes)
        if not upgrades:  # which we do not support
            assert ours == theirs


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", "\x7f", "\x1b"])
def test_a_cached_header_name_lets_no_bad_value_pass(value: str) -> None:
    good: Headers = [("x-known", "fine")]
    assert "x-known: fine" in head(ResponseWriter, good, (1, 1), True)[0]
    assert head(ResponseWriter, [("x-known", value)], (1, 1), True) is head(
        wsgi.Response, [("x-known", value)], (1, 1), True
    )


def test_the_cache_of_header_names_is_bounded() -> None:
    head(
        ResponseWriter,
        [(f"x-{number}", "1") for number in range(2 * client_connection.MOST_NAMES)],
        (1, 1),
        True,
    )
    assert len(client_connection._checked) <= client_connection.MOST_NAMES
