"""Tests the pause that an upstream asks for: in headers, in words, in the error."""

# ruff: noqa: E501

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.dialects.pause import duration, limit_reset, pause_in_words, retry_after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90.0),
        ("6ms", 0.006),
        ("39.5s", 39.5),
        ("7 seconds", 7.0),
        ("2 minutes", 120.0),
        ("1h0m1s", 3601.0),
        ("2d", 86400.0),
        ("20 milliseconds", 0.02),
        ("s", None),
        ("", None),
        ("5 apples", None),
        ("9" * 400 + "s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 1.5s. Visit", 1.5),
        ("Please try again in 6m0s.", 360.0),
        ("Please retry after 86400 seconds.", 86400.0),
        ("retry in 39s", 39.0),
        ("Try again in 20 milliseconds", 0.02),
        ("'try again in 80s' was asked. Please try again in 2s.", 2.0),
        ("Please try again later.", None),
        ("Limit 30000, Requested 2000", None),
        ("try again in 5 monkeys", None),
        ("retry " * 5000, None),
        ("Retry after: 5 sec", 5.0),
        ("Please try again in 2 minutes and 5 seconds.", 125.0),
        ("Please try again in 2h3m4.5s.", 7384.5),
        (
            'VertexAIException - {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "15s"}',
            15.0,
        ),
    ],
)
def test_a_pause_in_words(words: str, seconds: float | None) -> None:
    assert pause_in_words(words) == (pytest.approx(seconds) if seconds is not None else None)


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-reset-requests": "8.64s", "x-ratelimit-reset-tokens": "12ms"}, 0.012),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "5",
          "x-ratelimit-reset-tokens": "9s", "x-ratelimit-remaining-tokens": "0"}, 9.0),
        ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:00:30Z", "anthropic-ratelimit-requests-remaining": "0"}, 30.0),
        ({"anthropic-ratelimit-tokens-reset": "2027-01-15T07:59:00Z"}, 0.0),
        ({"x-ratelimit-reset": "1800000012"}, 12.0),
        ({"x-ratelimit-reset": "1800000012500"}, 12.5),
        ({"ratelimit-reset": "44"}, 44.0),
        ({"x-ratelimit-reset-after": "3.5"}, 3.5),
        ({"x-ratelimit-reset-requests": "soon"}, None),
        ({"x-ratelimit-reset": "nan"}, None),
        ({"ratelimitbysize-reset": "23", "ratelimitbysize-remaining": "0"}, 23.0),
        ({"x-ratelimit-reset-tokens-minute": "33.01", "x-ratelimit-remaining-tokens-minute": "0"}, 33.01),
        ({"ratelimit": '"default";r=0;t=42'}, 42.0),
        ({"ratelimit": '"a";r=5;t=60, "b";r=0;t=7'}, 7.0),
        ({"ratelimit": "limit=100, remaining=0, reset=42"}, 42.0),
        ({"ratelimit": '"default";r=3;t=42'}, None),
    ],
)  # fmt: skip
def test_when_a_limit_is_replenished(headers: dict[str, str], seconds: float | None) -> None:
    found = limit_reset(headers, NOW)
    assert found == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"metadata": {"headers": {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{ms}"}}}, 30.0),
        ({"metadata": {"headers": {"Retry-After": "11"}}}, 11.0),
        ({"metadata": {"retry_after_seconds": 8}}, 8.0),
        ({"details": [{"retryDelay": "39.5s"}]}, 39.5),
        ({"details": [{"retryDelay": {"seconds": 39, "nanos": 5}}]}, 39.0),
        ({"details": [{"retryDelay": {"seconds": 12, "nanos": 500000000}}]}, 12.5),
        ({"details": [{"retryDelay": {"nanos": 500000000}}]}, 0.5),
        ({"retryAfterMs": 1500}, 1.5),
        ({"type": "usage_limit_reached", "resets_in_seconds": 100}, 100.0),
        ({"details": [{"retryDelay": "-1s"}]}, None),
        ({"retry_after": "4"}, 4.0),
        ({"retry_after_ms": 1500}, 1.5),
        ({"retry_after": True}, None),
    ],
)  # fmt: skip
def test_a_pause_in_the_error(
    error: dict[str, Any], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    body = json.dumps({"error": {"message": "m", **error}}).replace("{ms}", str(int((NOW + 30) * 1000)))
    found = error_for(429, {}, body.encode(), "llama").retry_after
    assert found == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("5, 5", 5.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("2027-01-15T08:00:30Z", 30.0),
        ("1800000030", 30.0),
        ("-1", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_a_duration_or_a_time(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds
