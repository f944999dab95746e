"""Tests that only the operator can make a breaker try now, and what a restricted key sees of upstreams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from kit.calls import AUTH, chat, make_settings
from kit.upstream_mock import UpstreamMock
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from flask_gateway import create_app
from flask_gateway.cli.main import main
from flask_gateway.config.schema import Secret
from flask_gateway.state.memory import MemoryStore

URL = "http://llama.test/v1/chat/completions"
OK = {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop"}]}
OPERATOR = "operator-key"
RESTRICTED = {"Authorization": "Bearer other-key"}  # kept to the model 'mock'
METRICS = {"metrics_digest": sha256(OPERATOR.encode()).digest()}


@pytest.fixture
def upstream() -> Iterator[responses.RequestsMock]:
    with UpstreamMock(assert_all_requests_are_fired=False) as mocked:
        mocked.add_passthru("http://127.0.0.1")
        yield mocked


def ask(client: FlaskClient, model: str = "llama") -> int:
    return client.post("/v1/chat/completions", json=chat(model), headers=AUTH).status_code


def open_circuit(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    upstream.post(URL, status=502)
    for _ in range(5):
        assert ask(client) == 502
    assert ask(client) == 503
    upstream.reset()
    upstream.post(URL, json=OK)


def try_now(client: FlaskClient, name: str = "llama", **more: Any) -> TestResponse:
    return client.post(f"/v1/circuit-breakers/{name}/try", **{"headers": AUTH, **more})


def test_an_operator_can_make_the_next_call_try_an_upstream(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    open_circuit(client, upstream)
    answer = try_now(client)
    assert answer.status_code == 200
    assert [one["retry_after"] for one in answer.json["data"] if "model" not in one] == [None]  # type: ignore[index]
    assert len(upstream.calls) == 0
    assert ask(client) == 200


def test_all_breakers_of_the_upstream_are_reset(client: FlaskClient) -> None:
    answer = try_now(client)
    assert [one.get("model") for one in answer.json["data"]] == [None, "llama-3-8b-instruct"]  # type: ignore[index]


@pytest.mark.parametrize(
    "more",
    [
        {"headers": RESTRICTED},
        {"environ_overrides": {"REMOTE_ADDR": "203.0.113.9"}},
        {"headers": {**AUTH, "X-Forwarded-For": "203.0.113.9"}},
    ],
)
def test_an_ordinary_caller_is_refused(
    client: FlaskClient, upstream: responses.RequestsMock, more: dict[str, Any]
) -> None:
    open_circuit(client, upstream)
    answer = try_now(client, **more)
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "operator_only")  # type: ignore[index]
    assert ask(client) == 503


def test_without_any_key_it_is_a_401(client: FlaskClient) -> None:
    assert try_now(client, headers={}).status_code == 401


def test_the_metrics_key_is_required_if_it_is_set(
    make_client: Callable[..., FlaskClient], upstream: responses.RequestsMock
) -> None:
    client = make_client(**METRICS)
    open_circuit(client, upstream)
    assert try_now(client).status_code == 403
    assert try_now(client, headers={"Authorization": "Bearer wrong"}).status_code == 401
    away = {"REMOTE_ADDR": "203.0.113.9"}
    key = {"Authorization": f"Bearer {OPERATOR}"}
    assert try_now(client, headers=key, environ_overrides=away).status_code == 200
    assert ask(client) == 200


def test_the_metrics_key_opens_nothing_else(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(**METRICS)
    key = {"Authorization": f"Bearer {OPERATOR}"}
    for path in ("/v1/circuit-breakers", "/v1/models", "/v1/routes/mock"):
        assert client.get(path, headers=key).status_code == 401


def test_an_unknown_upstream_is_a_404(client: FlaskClient) -> None:
    answer = try_now(client, "nobody")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "upstream_not_found")  # type: ignore[index]


@pytest.fixture
def served(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def test_the_command_makes_the_gateway_try_an_upstream(
    client: FlaskClient,
    served: str,
    upstream: responses.RequestsMock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    open_circuit(client, upstream)
    environ = {"FLASK_GATEWAY_KEY": AUTH["Authorization"].removeprefix("Bearer ")}
    assert main(["try", "llama", "--url", served], environ) == 0
    assert "llama  OPEN  the next call tries it" in capsys.readouterr().out
    assert ask(client) == 200
    assert main(["try", "nobody", "--url", served], environ) == 1
    assert "404: There is no upstream 'nobody' here." in capsys.readouterr().err
    assert main(["try", "llama", "--url", served], {"FLASK_GATEWAY_KEY": "other-key"}) == 1
    assert "403: This is for the operator" in capsys.readouterr().err


# ------------------------------------------------------------------ other settings


def test_changed_settings_try_the_upstream_again(
    store: MemoryStore, upstream: responses.RequestsMock
) -> None:
    """Whether they come by a reload, a HUP or a restart: the store is the same."""
    before = make_settings()
    open_circuit(create_app(before, store).test_client(), upstream)
    assert ask(create_app(before, store).test_client()) == 503
    llama, *others = before.upstreams
    for change in (
        {"circuit_breaker_max_failures": 50},
        {
            "upstreams": (
                type(llama)(name="llama", url=llama.url, api_key=Secret("another-key-0123456789")),
                *others,
            )
        },
    ):
        assert ask(create_app(make_settings(**change), store).test_client()) == 200


# ------------------------------------------------------------------ what a restricted key is shown


def test_a_route_that_a_key_may_not_call_is_hidden(client: FlaskClient) -> None:
    hidden = {"tier": 1, "upstream": "****", "model": "****", "reason": "not allowed", "retry_after": None}
    hidden |= {"operations": [], "translated": []}
    for model in ("fast", "llama", "no-such-model"):
        shown = client.get(f"/v1/routes/{model}", headers=RESTRICTED)
        assert shown.status_code == 200
        assert shown.json["candidates"] == [hidden]  # type: ignore[index]
    own = client.get("/v1/routes/mock", headers=RESTRICTED).json
    assert [one["upstream"] for one in own["candidates"]] == ["mock"]  # type: ignore[index]


def test_upstreams_that_a_key_never_reaches_are_hidden(client: FlaskClient) -> None:
    shown = client.get("/v1/circuit-breakers", headers=RESTRICTED).json
    assert [one["upstream"] for one in shown["data"]] == ["mock"]  # type: ignore[index]
    everything = client.get("/v1/circuit-breakers", headers=AUTH).json
    assert {one["upstream"] for one in everything["data"]} == {"llama", "bare", "mock"}  # type: ignore[index]
