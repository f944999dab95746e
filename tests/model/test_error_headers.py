"""Tests the headers of an error: its origin, its upstream, and a pause that clients accept."""

from __future__ import annotations

import pytest

from flask_gateway.model.error_headers import LONGEST_WAIT, error_headers
from flask_gateway.model.errors import InvalidJson, UpstreamThrottled


def test_an_error_of_the_gateway_names_no_upstream_and_no_pause() -> None:
    assert error_headers(InvalidJson("bad")) == {"x-gateway-error-origin": "gateway"}


@pytest.mark.parametrize(
    ("wait", "seconds", "millis"),
    [
        (0.0, "1", "1"),
        (0.0001, "1", "1"),
        (0.25, "1", "250"),
        (2.0, "2", "2000"),
        (2.0001, "3", "2001"),
    ],
)
def test_a_pause_is_rounded_up_and_never_zero(wait: float, seconds: str, millis: str) -> None:
    headers = error_headers(
        UpstreamThrottled("slow down", status=429, error_object={}, retry_after=wait, upstream="up")
    )
    assert (headers["Retry-After"], headers["retry-after-ms"]) == (seconds, millis)
    assert headers["x-gateway-upstream"] == "up"


def test_no_pause_is_longer_than_the_sdks_accept() -> None:
    headers = error_headers(
        UpstreamThrottled("slow down", status=429, error_object={}, retry_after=10**9, upstream="up")
    )
    assert float(headers["Retry-After"]) <= LONGEST_WAIT
