"""Key sets of providers: the keys that are taken, and signatures with them."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from kit.token_issuer import SigningKey, rsa_key, signed, signing_key

from flask_gateway.jwt_auth.key_set import ALGORITHMS, UnusableKeySet, is_signed_by, key_set_of

ALL = frozenset(ALGORITHMS)


def found(key: SigningKey, **changed: Any) -> Any:
    jwk = {name: value for name, value in (key.jwk | changed).items() if value is not None}
    return key_set_of({"keys": [jwk]}, ALL).find(key.kid, key.algorithm)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_verifies(algorithm: str) -> None:
    key = signing_key(algorithm=algorithm)
    token, usable = signed(key, {"sub": "x"}), found(key)
    assert is_signed_by(token, usable, algorithm)
    assert not is_signed_by(token[:-8] + "AAAAAAAA", usable, algorithm)
    other = jwt.encode({"sub": "x"}, signing_key(algorithm="ES256").private, algorithm="ES256")
    assert not is_signed_by(other, usable, algorithm)


def test_neither_none_nor_shared_secrets_are_algorithms() -> None:
    assert not [name for name in ALGORITHMS if name.startswith("HS") or name.lower() == "none"]


@pytest.mark.parametrize(
    "changed",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "RS256"},
        {"alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"crv": "P-384"},
        {"crv": "P-256K"},
        {"x": "AA"},
        {"x": 5},
        {"y": None},
        {"kid": 7},
        {"kty": None},
    ],
)
def test_keys_that_are_not_taken(changed: dict[str, Any]) -> None:
    with pytest.raises(UnusableKeySet):
        found(signing_key(), **changed)


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [None, 1, "x"]}])
def test_documents_without_keys(document: object) -> None:
    with pytest.raises(UnusableKeySet):
        key_set_of(document, ALL)


def test_short_rsa_keys_are_not_taken() -> None:
    with pytest.raises(UnusableKeySet):
        found(signing_key(algorithm="RS256", private=rsa_key(1024)))


def test_private_members_are_dropped() -> None:
    key = signing_key()
    assert found(key, d="AAAA").jwk.keys() == {"kty", "crv", "x", "y", "kid", "alg"}


def test_a_key_without_algorithm_serves_those_of_its_type_that_are_allowed() -> None:
    jwk = signing_key(algorithm="RS256").jwk | {"alg": None}
    jwk.pop("alg")
    keys = key_set_of({"keys": [jwk]}, frozenset({"RS256", "PS384", "ES256"}))
    assert keys.find("1", "RS256") is keys.find("1", "PS384") is not None
    assert keys.find("1", "ES256") is keys.find("1", "RS512") is None


def test_a_token_without_kid_finds_the_only_key_for_its_algorithm() -> None:
    one, other, third = signing_key("1"), signing_key("2", "RS256"), signing_key("3")
    assert key_set_of({"keys": [one.jwk, other.jwk]}, ALL).find(None, "ES256").kid == "1"  # type: ignore[union-attr]
    assert key_set_of({"keys": [one.jwk, third.jwk]}, ALL).find(None, "ES256") is None


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1 --", "", "1\x00", "2"])
def test_other_ids_find_nothing(kid: str) -> None:
    assert key_set_of({"keys": [signing_key().jwk]}, ALL).find(kid, "ES256") is None


def test_equal_keys_have_one_fingerprint() -> None:
    key, other = signing_key(), signing_key()
    assert found(key).fingerprint == found(key, x5t="AA").fingerprint != found(other).fingerprint


def test_the_number_of_keys_is_bounded() -> None:
    jwk = signing_key().jwk
    assert len(key_set_of({"keys": [jwk] * 150}, ALL).keys) == 100
