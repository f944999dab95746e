"""Tests Anthropic's words for errors, and which paths are of its API."""

from __future__ import annotations

import json

import pytest

from flask_gateway.dialects.anthropic import DIALECTS, PING_EVENT, STOP, envelope, error_event, is_path
from flask_gateway.dialects.sse import data_of
from flask_gateway.model.call import ANTHROPIC
from flask_gateway.model.errors import (
    CallerError,
    GatewayError,
    InternalError,
    Overloaded,
    RateLimited,
    Unauthorized,
    UpstreamOverloaded,
    UpstreamTimeout,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CallerError("x"), "invalid_request_error"),
        (Unauthorized("x"), "authentication_error"),
        (RateLimited("x"), "rate_limit_error"),
        (InternalError("x"), "api_error"),
        (Overloaded("x"), "overloaded_error"),
        (UpstreamOverloaded("x"), "overloaded_error"),
        (UpstreamTimeout("x"), "timeout_error"),
    ],
)
def test_each_error_has_a_type_that_the_sdks_know(error: GatewayError, kind: str) -> None:
    worded = envelope(error, "req-1")
    assert (worded["type"], worded["request_id"]) == ("error", "req-1")
    assert (worded["error"]["type"], worded["error"]["message"]) == (kind, "x")
    assert "request_id" not in envelope(error)


def test_the_error_event_has_its_name() -> None:
    event = error_event(InternalError("x"), None)
    assert event.startswith(b"event: error\n")
    assert json.loads(data_of(event.rstrip()) or b"")["type"] == "error"
    assert all(json.loads(data_of(one.rstrip()) or b"") for one in (STOP, PING_EVENT))


@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/anthropic/v1/messages/count_tokens", "//v1/v1/messages", "/messages", "/v1/complete"],
)
def test_paths_of_the_api(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messagesx", "/", "/v1/completions"])
def test_other_paths(path: str) -> None:
    assert not is_path(path)


def test_each_operation_of_the_api_has_its_dialect() -> None:
    assert DIALECTS.keys() == set(ANTHROPIC)
