"""Tests what a request says about the cache: the directives of Cache-Control, and LiteLLM's field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flask_gateway.model.cache_request import UNSAID, CacheRequest
from flask_gateway.web.cache_control import cache_request


def said(value: str | None = None, field: Any = None) -> CacheRequest:
    fields = {"model": msgspec.Raw(b'"m"')}
    if field is not None:
        fields["cache"] = msgspec.Raw(field if isinstance(field, bytes) else msgspec.json.encode(field))
    request, rest = cache_request({"cache-control": value}.get, fields)
    assert set(rest) == {"model"}
    return request


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, UNSAID),
        ("no-cache", CacheRequest(no_cache=True)),
        ("No-Store", CacheRequest(no_store=True)),
        ("max-age=60", CacheRequest(max_age=60.0)),
        ('max-age="60"', CacheRequest(max_age=60.0)),
        ("max-age=0, only-if-cached", CacheRequest(max_age=0.0, only_if_cached=True)),
        ("max-age=60, max-age=5", CacheRequest(max_age=5.0)),
        ("max-age=-1, max-stale, min-fresh=3, x=y,,", UNSAID),
        ("max-age=99999999999999999999", UNSAID),
    ],
)
def test_directives(value: str | None, expected: CacheRequest) -> None:
    assert said(value) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"no-cache": True}, CacheRequest(no_cache=True)),
        ({"no-store": True, "no-cache": False}, CacheRequest(no_store=True)),
        ({"s-maxage": 60}, CacheRequest(max_age=60.0)),
        ({"ttl": 5}, CacheRequest(max_age=5.0)),
        ({"s-maxage": "soon", "namespace": "x"}, UNSAID),
        ("odd", UNSAID),
        (b'{"no-cache":' + b" " * 2000 + b"true}", UNSAID),
    ],
)
def test_litellms_field_is_understood_and_taken_out(field: Any, expected: CacheRequest) -> None:
    assert said(field=field) == expected


def test_both_together() -> None:
    assert said("no-store", {"use-cache": True}).no_store
    assert said("max-age=5", {"use-cache": True}).max_age == 2.0**31
