"""From a request's credentials to its caller."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256

from ..core import Caller
from ..errors import AmbiguousCredentials, GatewayError, Unauthorized
from .address import FORWARDED, is_loopback
from .headers import Header


def authenticate(header: Header, identify: Callable[[str], Caller]) -> Caller:
    """Who is asking, by ``X-API-Key`` or ``Authorization: Bearer``.

    :param header: gives a header of the request by its name.
    :param identify: tells whose key one is.
    :raises Unauthorized: no key, or nobody's. :raises AmbiguousCredentials: two keys that differ.
    """
    given = _given(header)
    if given is None:
        raise Unauthorized(
            "No API key was given. Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'."
        )
    return identify(given)


def may_read_metrics(header: Header, peer: str | None, key_digest: bytes | None) -> bool:
    """Whether a request may be told everybody's figures.

    :param peer: the address it comes from.
    :param key_digest: SHA-256 of the key that is needed; without one, whoever is on this machine may,
        unless a proxy speaks for somebody else.
    """
    if key_digest is None:
        return is_loopback(peer) and not any(header(name) for name in FORWARDED)
    try:
        given = _given(header) or ""
    except GatewayError:
        return False
    return hmac.compare_digest(sha256(given.encode("utf-8", "surrogateescape")).digest(), key_digest)


def _given(header: Header) -> str | None:
    key = header("X-API-Key")
    bearer = _bearer(header("Authorization"))
    if key is not None and bearer is not None and key != bearer:
        raise AmbiguousCredentials(
            "X-API-Key and Authorization carry different keys. Send one of them, or the same key in both."
        )
    return bearer if key is None else key


def _bearer(authorization: str | None) -> str | None:
    """The key; ``None`` where there is none behind the word either."""
    if authorization is None:
        return None
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("The Authorization header is not of the form 'Bearer KEY'.")
    return key.strip() or None
