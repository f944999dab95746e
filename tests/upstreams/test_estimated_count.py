"""Tests which answers to a request to count tokens are replaced by an estimate."""

from __future__ import annotations

import json

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.error_mapping import error_for
from flask_gateway.model.call import Operation
from flask_gateway.model.errors import UpstreamUnreachable
from flask_gateway.upstreams.estimated_count import EstimatedCount, counts_not

NO_CREDIT = {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}


@pytest.mark.parametrize("status", [400, 404, 501])
def test_an_upstream_that_does_not_count(status: int) -> None:
    assert counts_not(error_for(status, {}, b"{}", "up"))


@pytest.mark.parametrize("status", [401, 403, 408, 413, 429, 500, 502, 503, 504, 529])
def test_an_upstream_that_has_failed(status: int) -> None:
    assert not counts_not(error_for(status, {}, b"{}", "up"))


def test_an_upstream_that_may_not_be_asked() -> None:
    assert not counts_not(error_for(400, {}, json.dumps(NO_CREDIT).encode(), "up"))
    assert not counts_not(UpstreamUnreachable("x"))


def test_an_estimate_is_an_answer_of_its_own() -> None:
    call = msgspec.structs.replace(make_call(), operation=Operation.COUNT)
    reply = EstimatedCount("up").send(call)
    assert reply.headers["x-gateway-estimated"] == "true"
    assert json.loads(b"".join(reply))["input_tokens"] > 0
