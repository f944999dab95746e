"""Tests the view of calls: which stream mode, what a key may call, and what every answer carries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import AUTH
from kit.web_calls import assert_refused, post

from flask_gateway.config.schema import KeySettings
from flask_gateway.config.secrets import digest
from flask_gateway.model.errors import InvalidField
from flask_gateway.web.inference import wants_whole

BODY = {"model": "mock-1", "messages": [{"role": "user", "content": "Hello"}]}


def test_the_mode_of_a_stream_is_the_callers_or_the_routes() -> None:
    assert wants_whole("whole", default=False)
    assert not wants_whole("live", default=True)
    assert wants_whole(None, default=True)
    with pytest.raises(InvalidField) as caught:
        wants_whole("half", default=True)
    assert caught.value.param == "x-gateway-stream"


def test_a_model_or_a_fallback_that_a_key_may_not_call(make_client: Callable[..., FlaskClient]) -> None:
    keys = (KeySettings(id="k", digest=digest("key-of-a-test-1"), models=frozenset({"mock-1"})),)
    client = make_client(keys=keys)
    key = {"Authorization": "Bearer key-of-a-test-1"}
    assert post(client, BODY, **key).status_code == 200
    refused = assert_refused(post(client, BODY | {"model": "mock-2"}, **key), 403, "model_not_allowed")
    assert refused["param"] == "model"
    refused = assert_refused(post(client, BODY | {"fallbacks": ["mock-2"]}, **key), 403, "model_not_allowed")
    assert refused["param"] == "fallbacks"


def test_an_answer_and_a_stream_name_their_upstream(client: FlaskClient) -> None:
    answer, stream = post(client, BODY), post(client, BODY | {"stream": True})
    assert answer.headers["x-gateway-upstream"] == stream.headers["x-gateway-upstream"] == "mock"
    assert "Cache-Control" not in answer.headers
    assert stream.headers["Cache-Control"] == "no-cache, no-transform"
    assert stream.headers["X-Accel-Buffering"] == "no"
    assert stream.data.endswith(b"data: [DONE]\n\n")


def test_a_refused_call_gives_its_memory_back(app: Flask) -> None:
    gateway = app.extensions["gateway"]
    assert_refused(post(app.test_client(), b"{"), 400, "invalid_json")
    assert post(app.test_client(), BODY).status_code == 200
    assert app.test_client().get("/v1/chat/completions", headers=AUTH).status_code == 405
    assert gateway.body_memory.used == 0
