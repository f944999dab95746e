"""Tests the list of an upstream's models: where it is asked for, and with which headers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses
from kit.planted import UPSTREAM_KEY
from kit.upstream_mock import UpstreamMock

from flask_gateway.config.schema import Secret, UpstreamSettings
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.model_list import models_of
from flask_gateway.upstreams.transport.client import UpstreamClient


@pytest.fixture
def http() -> Iterator[UpstreamClient]:
    reactor = Reactor()
    client = UpstreamClient(reactor)
    yield client
    client.close()
    reactor.close()


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with UpstreamMock() as mock:
        yield mock


@pytest.mark.parametrize(
    ("kind", "asked", "header", "value"),
    [
        ("openai", "/v1/models", "Authorization", f"Bearer {UPSTREAM_KEY}"),
        ("azure", "/v1/models", "api-key", UPSTREAM_KEY),
        ("anthropic", "/v1/models?limit=1000", "x-api-key", UPSTREAM_KEY),
    ],
)
def test_each_kind_is_asked_in_its_own_way(
    server: responses.RequestsMock, http: UpstreamClient, kind: str, asked: str, header: str, value: str
) -> None:
    server.get(f"http://one.test{asked}", json={"data": [{"id": "a"}, {"id": 5}, {"id": "b"}]})
    settings = UpstreamSettings(name="one", url="http://one.test/v1", api_key=Secret(UPSTREAM_KEY), kind=kind)
    assert models_of(settings, http) == ("a", "b")
    sent = server.calls[0].request.headers
    assert sent[header] == value
    assert ("anthropic-version" in sent) == (kind == "anthropic")
