"""Headers and payloads that are no token, or one that asks for too much."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest

from flask_gateway.jwt_auth.unverified_token import (
    MOST_TOKEN,
    MalformedToken,
    looks_like_token,
    read_unverified,
)


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(header: object, claims: object = None, signature: str = "AA") -> str:
    return f"{part(header)}.{part({'iss': 'x'} if claims is None else claims)}.{signature}"


def test_the_parts_of_a_token() -> None:
    read = read_unverified(token({"alg": "RS256", "kid": "1", "typ": "at+JWT"}, {"iss": "x", "n": 1}))
    assert read == ("RS256", "1", {"iss": "x", "n": 1})


def test_a_header_cannot_bring_keys_or_their_places() -> None:
    evil = {
        "jku": "https://evil.example",
        "x5u": "https://evil.example",
        "jwk": {"kty": "oct"},
        "x5c": ["AA"],
    }
    assert read_unverified(token({"alg": "ES256", **evil})) == ("ES256", None, {"iss": "x"})


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": None},
        {"alg": ["RS256"]},
        {"alg": "RS256", "kid": 1},
        {"alg": "RS256", "kid": ["a"]},
        {"alg": "RS256", "kid": "k" * 257},
        {"alg": "RS256", "crit": ["exp"]},
        {"alg": "RS256", "crit": []},
        {"alg": "RS256", "b64": False},
        {"alg": "RS256", "typ": "logout+jwt"},
        {"alg": "RS256", "typ": 1},
        [],
        b"{",
        b"[" * 5000,
        b'{"alg": "RS256", "x": "\xff"}',
    ],
)
def test_refused_headers(header: object) -> None:
    text = token(header)
    if not isinstance(header, dict):
        text = "ey" + text  # else it is not even taken for a token
    with pytest.raises(MalformedToken):
        read_unverified(text)


@pytest.mark.parametrize("claims", [[], 1, b"{", b"\xff\xfe", b"[" * 5000])
def test_refused_payloads(claims: object) -> None:
    with pytest.raises(MalformedToken):
        read_unverified(token({"alg": "RS256"}, claims))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "sk-1234",
        "ey.ey",
        "eyJh.eyJh",
        "eyJh.eyJh.AA.BB",
        "eyJh.eyJh.AA\n",
        "eyJh..AA",
        "eyJh.eyJ=.AA",
        "eyJh.eyJ+.AA",
        "eyJh.eyJ\udcff.AA",
        f"eyJh.{'a' * MOST_TOKEN}.AA",
    ],
)
def test_keys_that_are_no_tokens(key: str) -> None:
    assert not looks_like_token(key)


def test_a_token_may_have_no_signature_at_this_point() -> None:
    assert looks_like_token(token({"alg": "none"}, signature=""))
