"""Tests the errors of a broken stream: each names its upstream, and hides the words of it."""

from __future__ import annotations

import pytest

from flask_gateway.dialects.stream_faults import (
    named_error,
    part_lost,
    stream_cut,
    stream_malformed,
    text_error,
)
from flask_gateway.model.errors import GatewayError, UpstreamCut, UpstreamMalformed


def test_a_fault_names_its_upstream_and_what_happened() -> None:
    faults: list[tuple[GatewayError, type[GatewayError]]] = [
        (stream_cut("up", "closed the stream"), UpstreamCut),
        (stream_malformed("up", "it has no events in it"), UpstreamMalformed),
        (part_lost("up"), UpstreamMalformed),
    ]
    for fault, kind in faults:
        assert type(fault) is kind
        assert fault.message.startswith("Upstream 'up' ")
        assert fault.message.endswith(".")
        assert fault.upstream == "up"


@pytest.mark.parametrize("data", [b'{"code":500,"message":"Hm"}', b"Hm", b'"Hm"', b"\xff", b"[" * 5000, b""])
def test_a_named_error_is_an_error_whatever_its_data(data: bytes) -> None:
    error = named_error("up", data)
    assert error.upstream == "up"
    assert "Hm" not in error.message, "an upstream's words stay out of the message"


def test_a_named_error_says_what_the_upstream_meant() -> None:
    assert named_error("up", b'{"code": 429, "message": "slow down"}').status == 429


def test_text_in_place_of_events_is_an_error_if_it_reports_one() -> None:
    page = text_error("up", b"<html><h1>Hm</h1></html>")
    assert page is not None
    assert "web page" in page.message
    overloaded = text_error("up", b'error: {"code":503,"message":"Hm"}')
    assert overloaded is not None
    assert overloaded.retry_elsewhere
    assert text_error("up", b": a comment") is None
    assert text_error("up", b"id: 7") is None
