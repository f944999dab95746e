"""Tests how OpenAI's SDK reacts to an upstream that is not asked, without a server in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses
from flask import Flask
from kit.calls import chat
from kit.planted import KEY
from kit.sdks import httpx2, openai
from kit.stores import HandClock
from kit.upstream_mock import UpstreamMock

URL = "http://llama.test/v1/chat/completions"


@pytest.fixture
def upstream() -> Iterator[responses.RequestsMock]:
    with UpstreamMock(assert_all_requests_are_fired=False) as mocked:
        yield mocked


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps that the SDK wanted, seconds. The fixture skips them."""
    slept: list[float] = []

    class Clock:
        """Replaces the module ``time`` in the SDK."""

        def __getattr__(self, name: str) -> Any:
            import time

            return getattr(time, name)

        def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    monkeypatch.setattr("openai._base_client.time", Clock())
    return slept


@pytest.fixture
def ask(app: Flask) -> Callable[..., Any]:
    transport = httpx2.WSGITransport(app=app, raise_app_exceptions=True)
    http = httpx2.Client(transport=transport, base_url="http://gateway.test/v1")
    sdk = openai.OpenAI(api_key=KEY, base_url="http://gateway.test/v1", http_client=http)
    return lambda **more: sdk.chat.completions.create(**{**chat("llama"), **more})


def open_circuit(ask: Callable[..., Any], upstream: responses.RequestsMock, slept: list[float]) -> None:
    upstream.post(URL, status=502)
    while True:
        try:
            ask()
        except openai.InternalServerError as error:
            if error.code == "upstream_unavailable":
                break
    slept.clear()
    upstream.calls.reset()


def test_an_open_circuit_fails_at_once(
    ask: Callable[..., Any], upstream: responses.RequestsMock, slept: list[float]
) -> None:
    open_circuit(ask, upstream, slept)
    with pytest.raises(openai.InternalServerError, match=r"tried again in 30 s") as caught:
        ask()
    assert slept == []
    assert len(upstream.calls) == 0
    assert caught.value.response.headers["Retry-After"] == "5"
    assert caught.value.response.headers["retry-after-ms"] == "5000"


def test_an_open_circuit_fails_a_stream_at_once(
    ask: Callable[..., Any], upstream: responses.RequestsMock, slept: list[float]
) -> None:
    open_circuit(ask, upstream, slept)
    with pytest.raises(openai.InternalServerError, match=r"tried again in"):
        ask(stream=True)
    assert slept == []


def test_an_sdk_sleeps_through_a_short_wait(
    ask: Callable[..., Any], upstream: responses.RequestsMock, slept: list[float], clock: HandClock
) -> None:
    open_circuit(ask, upstream, slept)
    clock.advance(28.5)
    with pytest.raises(openai.InternalServerError) as caught:
        ask()
    assert "x-should-retry" not in caught.value.response.headers
    assert slept == [pytest.approx(1.5), pytest.approx(1.5)]


def test_a_pause_requested_by_an_upstream_is_passed_on(
    ask: Callable[..., Any], upstream: responses.RequestsMock, slept: list[float]
) -> None:
    upstream.post(URL, status=429, headers={"Retry-After": "40"}, json={"error": {"message": "slow down"}})
    with pytest.raises(openai.RateLimitError):
        ask()
    slept.clear()
    with pytest.raises(openai.RateLimitError, match=r"pause .* 4[0-9] s") as caught:
        ask()
    assert slept == []
    assert caught.value.response.headers["Retry-After"] == "5"
