"""Reads a JSON Web Key Set (RFC 7517) into keys that verify signatures, and verifies with them.

Only public keys of RSA, elliptic curves and Ed25519 are taken: a key set with a secret in it (``oct``) would
let an attacker sign with what everybody can read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import jwt
import msgspec
from jwt.algorithms import get_default_algorithms

#: The most keys of a set that are read.
MOST_KEYS = 100
#: The algorithms that an operator may allow, each with the type and the curve of its keys: RFC 7518, 3.1, and
#: RFC 8037. Neither ``none`` nor those with a shared secret.
ALGORITHMS: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
#: The members of a public key. All others are dropped, private ones among them.
_PUBLIC = ("kty", "n", "e", "crv", "x", "y")
#: The smallest RSA key, bits: RFC 7518, 3.3. The largest: a verification costs its square.
_RSA_BITS = (2048, 8192)
_verifier = jwt.PyJWS(options={"enforce_minimum_key_length": True})


class UnusableKeySet(ValueError):
    """The document has no key that could verify a token. ``str()`` is half a sentence."""


class VerificationKey(NamedTuple):
    """A public key of the provider.

    :param algorithms: for which it may be used. :param public: the object of the library.
    :param fingerprint: SHA-256 of its public members and its algorithms.
    :param jwk: what is kept on the disk.
    """

    kid: str | None
    algorithms: frozenset[str]
    public: Any
    fingerprint: bytes
    jwk: Mapping[str, Any]


class KeySet:
    """The keys of a provider at one time. Immutable."""

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self.keys = tuple(keys)
        self.fingerprints = frozenset(key.fingerprint for key in self.keys)

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key of a token; ``None``: there is none.

        :param kid: ``None``: the only key for that algorithm (OpenID Connect Core 1.0, 10.1).
        """
        fit = [key for key in self.keys if algorithm in key.algorithms and kid in (None, key.kid)]
        return fit[0] if fit and (kid is not None or len(fit) == 1) else None


def key_set_of(document: object, allowed: frozenset[str]) -> KeySet:
    """The usable keys of a decoded document. Keys that are of no use here are left out.

    :param allowed: the algorithms of the settings, of :data:`ALGORITHMS`.
    :raises UnusableKeySet: there is no usable key, or the document is no key set.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise UnusableKeySet("it has no list 'keys'")
    usable = [key for jwk in keys[:MOST_KEYS] if (key := _key_of(jwk, allowed)) is not None]
    if not usable:
        raise UnusableKeySet(f"none of its keys is for {', '.join(sorted(allowed))}")
    return KeySet(usable)


def _key_of(jwk: object, allowed: frozenset[str]) -> VerificationKey | None:
    """A key of the set; ``None``: it is not for the signatures of tokens, or it is damaged."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or not _verifies(jwk.get("key_ops")):
        return None
    kid, form = jwk.get("kid"), (jwk.get("kty"), jwk.get("crv") or "")
    fit = frozenset(name for name in allowed if ALGORITHMS[name] == form and jwk.get("alg", name) == name)
    public = {name: jwk[name] for name in _PUBLIC if name in jwk}
    if not fit or not isinstance(kid, str | None) or not all(isinstance(v, str) for v in public.values()):
        return None
    try:
        loaded = get_default_algorithms()[min(fit)].from_jwk(public)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if form[0] == "RSA" and not _RSA_BITS[0] <= loaded.key_size <= _RSA_BITS[1]:
        return None
    kept = public | ({} if kid is None else {"kid": kid}) | ({"alg": jwk["alg"]} if "alg" in jwk else {})
    digest = sha256(msgspec.json.encode([kept, sorted(fit)], order="deterministic")).digest()
    return VerificationKey(kid, fit, loaded, digest, kept)


def _verifies(operations: object) -> bool:
    """Whether ``key_ops`` allows to verify: RFC 7517, 4.3."""
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def is_signed_by(token: str, key: VerificationKey, algorithm: str) -> bool:
    """Whether the key has signed the token, with that algorithm and no other."""
    if algorithm not in key.algorithms:
        return False
    try:
        _verifier.decode_complete(token, key.public, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True
