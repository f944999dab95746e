"""Tests what a request to Anthropic's API carries outside its body: headers, query, fallbacks, quota."""

from __future__ import annotations

import msgspec
import pytest

from flask_gateway.model.errors import InvalidField
from flask_gateway.web.anthropic_requests import (
    MAX_HEADERS,
    anthropic_headers,
    anthropic_query,
    named_fallbacks,
    quota_headers,
)
from flask_gateway.web.request_body import MAX_CHAIN
from flask_gateway.web.request_headers import header_of


@pytest.mark.parametrize("value", ["x" * (MAX_HEADERS + 1), "é", "a\x00", "a\tb"])
def test_a_header_that_is_refused_is_named(value: str) -> None:
    with pytest.raises(InvalidField) as caught:
        anthropic_headers({"HTTP_ANTHROPIC_BETA": value})
    assert caught.value.param == "anthropic-beta"


def test_headers_of_the_api_pass_and_no_others() -> None:
    environ = {"HTTP_ANTHROPIC_BETA": "a,b", "HTTP_ANTHROPIC_VERSION": "", "HTTP_X_API_KEY": "secret"}
    assert anthropic_headers(environ) == {"anthropic-beta": "a,b"}


@pytest.mark.parametrize(
    ("query", "passed"),
    [("beta=true", "beta=true"), ("a=1&beta=true&b=2", "beta=true"), ("beta=false", ""), ("xbeta=true", "")],
)
def test_the_query(query: str, passed: str) -> None:
    assert anthropic_query({"QUERY_STRING": query}) == passed


def test_fallbacks_are_in_a_header_and_the_field_passes() -> None:
    fields = {"model": msgspec.Raw(b'"m"'), "fallbacks": msgspec.Raw(b"[]")}
    assert named_fallbacks(fields, header_of({}))[1] is None
    rest, chain = named_fallbacks(fields, header_of({"HTTP_X_GATEWAY_FALLBACKS": " a ,,b"}))
    assert chain == ("a", "b")
    assert "fallbacks" in rest
    with pytest.raises(InvalidField, match=f"may name {MAX_CHAIN} models"):
        named_fallbacks(fields, header_of({"HTTP_X_GATEWAY_FALLBACKS": "a," * (MAX_CHAIN + 1)}))


def test_the_quota_has_both_names() -> None:
    given = {f"x-ratelimit-{name}-requests": value for name, value in
             (("limit", "60"), ("remaining", "59"), ("reset", "1m1.5s"))}  # fmt: skip
    assert quota_headers(given, 0.0) == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:01Z",
    }
    assert quota_headers({"x-ratelimit-limit-requests": "60"}, 0.0) == {}
