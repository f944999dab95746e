"""Attacks on the authenticator, with a provider in this process: RFC 8725 names most of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from kit.token_issuer import SigningKey, TokenIssuer, rsa_key, signed, signing_key

from flask_gateway.jwt_auth import authenticator
from flask_gateway.jwt_auth.authenticator import JwtAuthenticator
from flask_gateway.model.errors import AccountNotAllowed, KeyExpired, KeysUnavailable, Unauthorized

ES, RS = signing_key("es"), signing_key("rs", "RS256")


@pytest.fixture(scope="module")
def shared() -> Iterator[TokenIssuer]:
    with TokenIssuer(RS, ES) as issuer:
        yield issuer


@pytest.fixture
def issuer(shared: TokenIssuer) -> Iterator[TokenIssuer]:
    shared.keys, shared.mode = [RS, ES], "ok"
    shared.asked.clear()
    return shared


@pytest.fixture
def login(issuer: TokenIssuer) -> Iterator[Callable[..., JwtAuthenticator]]:
    made: list[JwtAuthenticator] = []

    def make(clock: Callable[[], float] = time.time, **changed: Any) -> JwtAuthenticator:
        made.append(JwtAuthenticator(clock=clock, **issuer.options(**changed)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def header(name: str) -> None:
    """No header is there."""


def identify(login: JwtAuthenticator, token: str) -> Any:
    return login.identify(token, header)


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(
    head: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes] = lambda _: b""
) -> str:
    text = f"{encoded(head)}.{encoded(claims)}"
    return f"{text}.{encoded(sign(text.encode()))}"


def test_a_good_token_of_each_key(login: Any, issuer: TokenIssuer) -> None:
    one = login()
    assert identify(one, issuer.token()).id == "jwt:alice"
    assert identify(one, signed(RS, issuer.claims("bob"))).id == "jwt:bob"
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("key", ["", "sk-x", "ey", "a.b.c", "eyJ.eyJ.AA", "ey" + "x" * 100_000])
def test_other_keys_are_not_its_own(login: Any, issuer: TokenIssuer, key: str) -> None:
    try:
        assert identify(login(), key) is None
    except Unauthorized:
        assert key == "eyJ.eyJ.AA"
    assert issuer.asked == []


def test_a_token_of_another_issuer_is_not_its_own(login: Any, issuer: TokenIssuer) -> None:
    assert identify(login(), issuer.token(iss="https://other.example")) is None
    assert issuer.asked == []


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
def test_the_algorithm_none(login: Any, issuer: TokenIssuer, name: str) -> None:
    for head in ({"alg": name}, {"alg": name, "kid": "rs"}):
        with pytest.raises(Unauthorized):
            identify(login(), forged(head, issuer.claims()))


@pytest.mark.parametrize("form", ["PEM", "DER", "JWK", "N"])
def test_a_public_key_is_no_shared_secret(login: Any, issuer: TokenIssuer, form: str) -> None:
    """CVE-2015-9235: HS256 with the bytes of the public key, which everybody can read."""
    public, info = rsa_key().public_key(), serialization.PublicFormat.SubjectPublicKeyInfo
    secret = {
        "PEM": public.public_bytes(serialization.Encoding.PEM, info),
        "DER": public.public_bytes(serialization.Encoding.DER, info),
        "JWK": json.dumps(RS.jwk).encode(),
        "N": RS.jwk["n"].encode(),
    }[form]
    token = forged(
        {"alg": "HS256", "kid": "rs"}, issuer.claims(), lambda text: hmac.digest(secret, text, hashlib.sha256)
    )
    with pytest.raises(Unauthorized, match="algorithm"):
        identify(login(), token)


def test_an_algorithm_of_another_key_or_one_that_is_not_allowed(login: Any, issuer: TokenIssuer) -> None:
    for token in (
        signed(SigningKey("es", "RS256", rsa_key(), {}), issuer.claims()),
        signed(SigningKey("rs", "PS256", rsa_key(), {}), issuer.claims()),
        signed(SigningKey("rs", "RS512", rsa_key(), {}), issuer.claims()),
        signed(SigningKey("rs", "ES256", ES.private, {}), issuer.claims()),
    ):
        with pytest.raises(Unauthorized):
            identify(login(), token)


def test_a_key_in_the_token_or_at_an_address_in_it_is_not_used(login: Any, issuer: TokenIssuer) -> None:
    evil = signing_key("es")
    with TokenIssuer(evil) as other:
        places = {"jku": f"{other.url}/keys", "x5u": f"{other.url}/cert", "jwk": evil.jwk, "x5c": ["AA"]}
        for fields in ({}, places, {**places, "kid": "new"}, {"kid": f"{other.url}/keys"}):
            with pytest.raises(Unauthorized):
                identify(login(), signed(evil, issuer.claims(), **fields))
        assert other.asked == []


@pytest.mark.parametrize(
    "kid",
    [
        "../../../dev/null",
        "/dev/null",
        "' UNION SELECT 'x",
        "es\x00",
        "$(id)",
        "",
        "k" * 256,
        "http://127.0.0.1/",
    ],
)
def test_ids_of_keys_are_names_and_nothing_else(login: Any, issuer: TokenIssuer, kid: str) -> None:
    for sign in (lambda _: b"", lambda text: hmac.digest(b"", text, hashlib.sha256)):
        with pytest.raises(Unauthorized):
            identify(login(), forged({"alg": "ES256", "kid": kid}, issuer.claims(), sign))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"aud": "other"}, Unauthorized),
        ({"aud": None}, Unauthorized),
        ({"exp": 1}, KeyExpired),
        ({"exp": None}, Unauthorized),
        ({"nbf": 2**40}, Unauthorized),
        ({"sub": None}, Unauthorized),
        ({"groups": ["strangers"]}, AccountNotAllowed),
    ],
)
def test_signed_tokens_that_do_not_fit(
    login: Any, issuer: TokenIssuer, changed: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        identify(login(), issuer.token(**changed))


def test_every_changed_byte_of_a_token_is_noticed(login: Any, issuer: TokenIssuer) -> None:
    one, token = login(), issuer.token()
    assert identify(one, token)
    for place in range(0, len(token), 7):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with suppress(Unauthorized):
            assert identify(one, changed) is None, place


def test_signatures_in_other_encodings(login: Any, issuer: TokenIssuer) -> None:
    one, token = login(), issuer.token()
    for changed in (token[:-1], token + "A", token + "=", token.rpartition(".")[0] + ".", token + "\n"):
        with suppress(Unauthorized):
            assert identify(one, changed) is None
    # All zeros: CVE-2022-21449.
    with pytest.raises(Unauthorized, match="signature"):
        identify(one, forged({"alg": "ES256", "kid": "es"}, issuer.claims(), lambda _: bytes(64)))


def test_a_token_is_verified_once(login: Any, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    one, token, verified = login(), issuer.token(), []
    genuine = authenticator.is_signed_by
    monkeypatch.setattr(authenticator, "is_signed_by", lambda *of: verified.append(1) or genuine(*of))
    assert len({id(identify(one, token)) for _ in range(5)}) == 1
    assert len(verified) == 1


def test_a_known_token_ends_with_its_time(login: Any, issuer: TokenIssuer) -> None:
    now = [time.time()]
    one, token = login(clock=lambda: now[0], leeway_seconds=30), issuer.token()
    assert identify(one, token)
    now[0] += 329
    assert identify(one, token)
    now[0] += 2
    with pytest.raises(KeyExpired):
        identify(one, token)


def test_a_rotated_key_ends_the_tokens_of_the_old_one(login: Any, issuer: TokenIssuer) -> None:
    one, old = login(), issuer.token()
    assert identify(one, old)
    issuer.rotate(signing_key("new"))
    assert identify(one, issuer.token()).id == "jwt:alice"
    with pytest.raises(Unauthorized, match="no key"):
        identify(one, old)


@pytest.mark.parametrize("mode", ["busy", "page", "huge", "nothing", "secret", "moved", "stranger"])
def test_a_provider_that_is_not_well(login: Any, issuer: TokenIssuer, mode: str) -> None:
    known, fresh, token = login(), login(), issuer.token()
    assert identify(known, token)
    issuer.mode = mode
    assert identify(known, issuer.token("bob")).id == "jwt:bob"
    with pytest.raises(KeysUnavailable):
        identify(fresh, token)


def test_a_wrong_option_is_told_at_the_start(issuer: TokenIssuer) -> None:
    with pytest.raises(Exception, match="algorithms"):
        JwtAuthenticator(**issuer.options(algorithms=["HS256"]))
