"""Tests what clients of LiteLLM Proxy read in responses, and which request fields are for the proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.web_calls import post

from flask_gateway.model.call import Caller
from flask_gateway.web.litellm_compat import litellm_headers, without_proxy_fields
from flask_gateway.web.request_state import RequestState


def state(model: str | None = None, limit: int = 0) -> RequestState:
    made = RequestState()
    made.started = 0.0
    made.model = model
    made.caller = Caller(id="c", rate_limit=limit)
    return made


def test_fields_for_the_proxy_go_no_further() -> None:
    fields: Mapping[str, msgspec.Raw] = {name: msgspec.Raw(b"1") for name in ("model", "metadata", "ttl")}
    assert without_proxy_fields(fields).keys() == {"model"}
    plain = {"model": msgspec.Raw(b"1")}
    assert without_proxy_fields(plain) is plain


@pytest.mark.parametrize(
    ("attempts", "retries", "fallbacks"),
    [
        ("a:200:0.1s", "0", "0"),
        ("a:503:0.1s, a:200:0.1s", "1", "0"),
        ("a:503:0.1s, b:503:0.1s, b:200:0.1s, a:200:0.1s", "1", "2"),
    ],
)
def test_attempts_are_counted(attempts: str, retries: str, fallbacks: str) -> None:
    found = dict(litellm_headers(state(), [("X-Gateway-Attempts", attempts)]))
    assert found["x-litellm-attempted-retries"] == retries
    assert found["x-litellm-attempted-fallbacks"] == fallbacks


def test_headers_that_are_not_known_are_left_out() -> None:
    assert {name for name, _ in litellm_headers(state(), [])} == {
        "x-litellm-call-id",
        "x-litellm-response-duration-ms",
    }
    known = dict(litellm_headers(state("m", limit=7), [("x-gateway-upstream", "up")]))
    assert known["x-litellm-model-group"] == "m"
    assert known["x-litellm-model-id"] == "up"
    assert known["x-litellm-key-rpm-limit"] == "7"


def test_a_call_has_the_headers_where_the_setting_is_on(make_client: Callable[..., FlaskClient]) -> None:
    body = {"model": "mock-1", "messages": [{"role": "user", "content": "x"}], "metadata": {"a": 1}}
    answer = post(make_client(compat=("litellm",)), body)
    assert answer.status_code == 200
    assert answer.headers["x-litellm-model-group"] == "mock-1"
    assert answer.headers["x-litellm-call-id"] == answer.headers["x-request-id"]
    plain = make_client().get("/v1/models", headers=AUTH)
    assert not [name for name, _ in plain.headers if name.startswith("x-litellm")]
