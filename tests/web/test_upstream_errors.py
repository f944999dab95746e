"""Tests what callers see when an upstream fails."""

from __future__ import annotations

import pytest
import responses
from flask.testing import FlaskClient
from kit.calls import chat
from kit.planted import UPSTREAM_KEY
from kit.stores import HandClock
from kit.web_calls import OK, URL, assert_refused, breakers, post


def test_a_failing_upstream_is_a_502_and_its_circuit_opens_after_five(
    client: FlaskClient, upstream: responses.RequestsMock, clock: HandClock
) -> None:
    upstream.post(URL, status=502, body="<html>stack trace at /srv/llama.py</html>")
    for _ in range(5):
        response = post(client, chat())
        assert response.status_code == 502
        assert response.headers["x-gateway-error-origin"] == "upstream"
        assert response.headers["x-gateway-upstream"] == "llama"
        assert b"srv" not in response.data
    refused = post(client, chat())
    assert_refused(refused, 503, "upstream_unavailable")
    assert (refused.headers["Retry-After"], refused.headers["x-should-retry"]) == ("5", "false")
    assert b"tried again in 30 s" in refused.data
    assert refused.headers["x-gateway-upstream"] == "llama"
    assert len(upstream.calls) == 5
    assert breakers(client)["llama"] == {
        "upstream": "llama",
        "state": "OPEN",
        "failures": 5,
        "retry_after": 30.0,
    }
    assert breakers(client)["mock"]["state"] == "CLOSED"

    clock.advance(30)
    upstream.replace(responses.POST, URL, json=OK)
    assert post(client, chat()).status_code == 200
    assert breakers(client)["llama"] == {
        "upstream": "llama",
        "state": "CLOSED",
        "failures": 0,
        "retry_after": None,
    }


def test_the_upstreams_error_for_a_bad_request_is_returned(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    said = {
        "message": "Too long.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    upstream.post(URL, status=400, json={"error": said})
    for _ in range(6):
        response = post(client, chat())
        assert (response.status_code, response.json) == (400, {"error": said})
        assert response.headers["x-gateway-error-origin"] == "upstream"
    assert breakers(client)["llama"]["failures"] == 0


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_of_ours_is_not_the_callers_fault(
    client: FlaskClient, upstream: responses.RequestsMock, status: int
) -> None:
    upstream.post(URL, status=status, json={"error": {"message": f"bad key {UPSTREAM_KEY}"}})
    response = post(client, chat())
    assert (response.status_code, response.json["error"]["code"]) == (502, "upstream_auth_failed")  # type: ignore[index]
    assert UPSTREAM_KEY.encode() not in response.data


def test_a_refused_credential_is_shown_and_logged_without_it(
    client: FlaskClient, upstream: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.post(URL, status=401, json={"error": {"message": f"bad key {UPSTREAM_KEY}"}})
    assert [post(client, chat()).status_code for _ in range(3)] == [502] * 3
    assert breakers(client)["llama"] == {
        "upstream": "llama",
        "state": "CLOSED",
        "failures": 0,
        "retry_after": None,
        "credential_refused": True,
    }
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "'llama'" in warning
    assert "401" in warning
    assert UPSTREAM_KEY not in warning
    upstream.replace(responses.POST, URL, json=OK)
    assert post(client, chat()).status_code == 200
    assert "credential_refused" not in breakers(client)["llama"]


def test_a_429_of_the_upstream_is_passed_on_and_pauses_it(
    client: FlaskClient, upstream: responses.RequestsMock, clock: HandClock
) -> None:
    upstream.post(
        URL, status=429, json={"error": {"message": "m", "code": "slow"}}, headers={"Retry-After": "7"}
    )
    response = post(client, chat())
    assert (response.status_code, response.json["error"]["code"]) == (429, "slow")  # type: ignore[index]
    assert (response.headers["Retry-After"], response.headers["retry-after-ms"]) == ("7", "7000")
    assert post(client, chat()).json["error"]["code"] == "upstream_rate_limited"  # type: ignore[index]
    assert len(upstream.calls) == 1
    clock.advance(8)
    post(client, chat())
    assert len(upstream.calls) == 2
