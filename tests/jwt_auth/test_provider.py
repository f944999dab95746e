"""Fetches of key sets from providers that are well, away, slow and hostile."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kit.servers import free_port
from kit.token_issuer import BAD_ANSWERS, TokenIssuer

from flask_gateway.config.errors import InvalidValue
from flask_gateway.jwt_auth.provider import KeyProvider, ProviderFault, checked_url

ALLOWED = frozenset({"ES256"})


@pytest.fixture(scope="module")
def shared() -> Iterator[TokenIssuer]:
    with TokenIssuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(shared: TokenIssuer) -> Iterator[TokenIssuer]:
    shared.asked.clear()
    yield shared
    shared.mode = "ok"


def test_the_key_set_is_discovered(issuer: TokenIssuer) -> None:
    keys = KeyProvider(issuer.url, "", ALLOWED).fetch()
    assert keys.find("1", "ES256")
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_named_key_set_is_not_discovered(issuer: TokenIssuer) -> None:
    assert KeyProvider(issuer.url, f"{issuer.url}/keys?v=2", ALLOWED).fetch().find("1", "ES256")
    assert issuer.asked == ["/keys?v=2"]


@pytest.mark.parametrize("mode", [*BAD_ANSWERS, "stranger"])
def test_bad_answers(issuer: TokenIssuer, mode: str) -> None:
    issuer.mode = mode
    with pytest.raises(ProviderFault) as fault:
        KeyProvider(issuer.url, "", ALLOWED).fetch()
    assert len(str(fault.value)) < 400
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_slow_answer_is_cut(issuer: TokenIssuer, mode: str) -> None:
    issuer.mode = mode
    began = time.monotonic()
    with pytest.raises(ProviderFault, match="does not answer"):
        KeyProvider(issuer.url, "", ALLOWED, seconds=0.3).fetch()
    assert time.monotonic() - began < 10  # a byte in 50 ms would keep it for ever


def test_a_provider_that_is_not_there() -> None:
    with pytest.raises(ProviderFault, match="does not answer"):
        KeyProvider(f"http://127.0.0.1:{free_port()}", "", ALLOWED).fetch()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example",
        "http://login.example",
        "http://10.0.0.1/realms/x",
        "ftp://login.example",
        "file:///etc/passwd",
        "https://user:secret@login.example",
        "https://login.example/#x",
        "https://login.example/a b",
        "https://login.example\n",
        "https:///keys",
    ],
)
def test_urls_that_are_not_safe(url: str) -> None:
    with pytest.raises(InvalidValue):
        checked_url(url)


@pytest.mark.parametrize(
    "url", ["https://login.example/realms/x", "http://localhost:8080", "http://[::1]:80/x"]
)
def test_urls_that_are_safe(url: str) -> None:
    assert checked_url(url).geturl() == url
