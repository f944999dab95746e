"""Reads the header and the claims of a JSON Web Token before anything of it is verified. Pure."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

#: The longest token that is read, characters. A header field of gunicorn has about half of that at most.
MOST_TOKEN = 16 * 1024
#: The longest ``kid``, characters.
MOST_KID = 256
#: The values of ``typ`` that a token for a caller may have, in lower case: RFC 7519, 5.1, and RFC 9068, 2.1.
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_COMPACT = re.compile(r"ey[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*").fullmatch


class MalformedToken(ValueError):
    """The key looks like a token of this provider and cannot be one. ``str()`` is half a sentence."""


class UnverifiedToken(NamedTuple):
    """A token of which nothing is proven.

    :param kid: the id of the key that signed it; ``None``: it names none.
    :param claims: as the payload has them.
    """

    algorithm: str
    kid: str | None
    claims: Mapping[str, Any]


def begins_like_token(key: str) -> bool:
    """Whether a key could be a token. Every JSON object begins with ``ey`` in base64."""
    return key.startswith("ey") and len(key) <= MOST_TOKEN


def looks_like_token(key: str) -> bool:
    """Whether a key has the form of a signed token: RFC 7515, 7.1."""
    return begins_like_token(key) and _COMPACT(key) is not None


def read_unverified(key: str) -> UnverifiedToken:
    """The parts of a token.

    The header can name neither keys nor places of keys: ``jwk``, ``jku``, ``x5u`` and ``x5c`` are not read.

    :raises MalformedToken: it is none, or it asks for something that the gateway does not do.
    """
    first, second, _ = key.split(".")
    header, claims = _object(first, "its header"), _object(second, "its payload")
    if "crit" in header or header.get("b64", True) is not True:
        raise MalformedToken("its header has extensions that the gateway does not know")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str):
        raise MalformedToken("its header names no algorithm")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MOST_KID):
        raise MalformedToken("its 'kid' is no short text")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise MalformedToken("its 'typ' is not that of a token for callers")
    return UnverifiedToken(algorithm, kid, claims)


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise MalformedToken(f"{name} is no JSON") from None
    if not isinstance(value, dict):
        raise MalformedToken(f"{name} is no JSON object")
    return value
