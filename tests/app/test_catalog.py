"""Tests the catalog of models: refreshed in the background, bounded, and failures are logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import responses
from flask.testing import FlaskClient
from kit.calls import AUTH, chat, make_settings
from kit.planted import UPSTREAM_KEY
from kit.stores import HandClock
from kit.upstream_mock import UpstreamMock

from flask_gateway import create_app
from flask_gateway.app.catalog import AGAIN, PERIOD, Catalog
from flask_gateway.config.schema import KeySettings, Secret, Settings, UpstreamSettings
from flask_gateway.model.errors import UpstreamUnreachable
from flask_gateway.state.memory import MemoryStore
from flask_gateway.upstreams.model_list import MAX_MODELS

URL = "http://llama.test/v1"
OK = {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop"}]}


def listing(*names: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


@pytest.fixture
def upstream() -> Iterator[responses.RequestsMock]:
    with UpstreamMock(assert_all_requests_are_fired=False) as mocked:
        yield mocked


@pytest.fixture
def settings() -> Settings:
    lists = UpstreamSettings(name="llama", url=URL, api_key=Secret(UPSTREAM_KEY), list_models=True)
    other = UpstreamSettings(name="bare", url="http://bare.test/v1")
    return make_settings(upstreams=(lists, other), default_upstream="llama")


@pytest.fixture
def client(
    settings: Settings, store: MemoryStore, upstream: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    """A client of a gateway whose catalog refreshes only when a test calls ``refresh``."""
    monkeypatch.setattr(Catalog, "start", lambda self: None)
    return create_app(settings, store).test_client()


def catalog_of(client: FlaskClient) -> Catalog:
    found: Catalog = client.application.extensions["gateway"].catalog
    return found


def listed(client: FlaskClient, **headers: str) -> list[str]:
    answer = client.get("/v1/models", headers=headers or AUTH).json
    return [one["id"] for one in answer["data"]]  # type: ignore[index]


def test_models_that_an_upstream_lists_are_listed(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.get(f"{URL}/models", json=listing("gpt-4o", "bare", "fast", "vendor/m"))
    assert listed(client) == ["bare", "llama", "fast"]
    catalog_of(client).refresh()
    assert upstream.calls[0].request.headers["Authorization"] == f"Bearer {UPSTREAM_KEY}"
    # The upstream llama has no model 'llama'. 'bare' and 'fast' are other models, so they need its prefix.
    assert listed(client) == ["bare", "gpt-4o", "llama/bare", "llama/fast", "vendor/m", "fast"]
    assert client.get("/v1/models/gpt-4o", headers=AUTH).status_code == 200
    assert client.get("/v1/models/llama/fast", headers=AUTH).status_code == 200


def test_a_key_sees_the_models_it_may_call(
    settings: Settings, store: MemoryStore, upstream: responses.RequestsMock
) -> None:
    (key, other) = settings.keys
    assert isinstance(other, KeySettings)
    kept = msgspec.structs.replace(other, models=frozenset({"gpt-4o"}))
    upstream.get(f"{URL}/models", json=listing("gpt-4o", "gpt-4o-mini"))
    app = create_app(msgspec.structs.replace(settings, keys=(key, kept)), store)
    app.extensions["gateway"].catalog.refresh()
    assert listed(app.test_client(), Authorization="Bearer other-key") == ["gpt-4o"]


def test_metrics_have_the_listed_models_as_labels(
    client: FlaskClient, upstream: responses.RequestsMock
) -> None:
    upstream.get(f"{URL}/models", json=listing("gpt-known"))
    upstream.post(f"{URL}/chat/completions", json=OK)
    catalog_of(client).refresh()
    for model in ("gpt-known", "llama/gpt-known", "gpt-made-up-by-a-caller"):
        client.post("/v1/chat/completions", json=chat(model), headers=AUTH)
    figures = client.get("/metrics").text
    assert 'model="gpt-known"' in figures
    assert 'model="llama/gpt-known"' in figures
    assert "gpt-made-up-by-a-caller" not in figures


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": 500}, "status 500"),
        ({"body": b"<html>"}, "no list of models"),
        ({"json": {"object": "list"}}, "no list of models"),
        ({"status": 302, "headers": {"Location": "http://169.254.169.254/"}}, "status 302"),
        ({"body": b" " * (9 << 20)}, "longer than"),
    ],
)
def test_a_failure_is_logged_once_and_fails_no_call(
    client: FlaskClient,
    upstream: responses.RequestsMock,
    caplog: pytest.LogCaptureFixture,
    answer: dict[str, Any],
    told: str,
) -> None:
    upstream.get(f"{URL}/models", **answer)
    catalog = catalog_of(client)
    clock = HandClock(0)
    catalog._clock = lambda: clock() / 1e6
    for _ in range(3):
        catalog.refresh()
        clock.advance(AGAIN)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert told in said[0]
    assert UPSTREAM_KEY not in said[0]
    assert listed(client) == ["bare", "llama", "fast"]


def test_odd_names_and_long_lists_are_bounded(client: FlaskClient, upstream: responses.RequestsMock) -> None:
    odd = [None, 7, "", "a\nb", "x" * 1000, {"id": "y"}, "twice", "twice"]
    upstream.get(f"{URL}/models", json=listing(*odd, *(f"m{number}" for number in range(5000))))
    catalog_of(client).refresh()
    names = catalog_of(client).models["llama"]
    assert names[:2] == ("twice", "m0")
    assert len(names) == MAX_MODELS


def test_lists_are_refreshed_and_kept_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    now, answers = [0.0], iter([("a",), UpstreamUnreachable("It is away."), ("a", "b")])

    def ask(name: str) -> tuple[str, ...]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    catalog = Catalog(lambda: now[0])
    catalog.change({"u": ask})
    for pause, models in ((0.0, ("a",)), (PERIOD - 1, ("a",)), (1.0, ("a",)), (AGAIN, ("a", "b"))):
        now[0] += pause
        catalog.refresh()
        assert catalog.models == {"u": models}
    assert "the last known list stays" in caplog.text
    assert "lists its models again" in caplog.text
    assert catalog.names == {"a", "b", "u/a", "u/b"}
    catalog.change({})
    assert (catalog.models, catalog.names) == ({}, frozenset())


def test_lists_are_refreshed_on_a_thread_of_their_own() -> None:
    asked, going, ended = threading.Event(), threading.Event(), threading.Event()

    def ask(name: str) -> tuple[str, ...]:
        asked.set()
        going.wait(30)
        return ("a",)

    def next_upstream(name: str) -> tuple[str, ...]:
        ended.set()
        return ()

    catalog = Catalog()
    catalog.start()
    catalog.change({"u": ask, "v": next_upstream})
    assert asked.wait(30)
    assert catalog.models == {}
    catalog.change({})  # the answer that is still to come is ignored
    going.set()
    assert ended.wait(30)
    assert catalog.models == {}


def test_a_reload_keeps_the_catalog(client: FlaskClient, settings: Settings) -> None:
    from flask_gateway.app.build import rebuild

    before = client.application.extensions["gateway"]
    assert rebuild(settings, before).catalog is before.catalog
