"""From a request's credentials to its caller."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from hashlib import sha256

from ..model.call import Caller
from ..model.errors import AmbiguousCredentials, GatewayError, Unauthorized
from .client_address import FORWARDED, is_loopback
from .headers import Header

#: Parameters of a URL in which some APIs take a key.
_KEY_IN_URL = re.compile(r"(?:^|&)(?:key|api[-_]?key|access_token)=.", re.IGNORECASE).search


def authenticate(header: Header, identify: Callable[[str], Caller], query: str = "") -> Caller:
    """Who is asking, by ``Authorization: Bearer``, ``X-API-Key`` or ``api-key``, which clients of Azure send.

    :param header: gives a header of the request by its name.
    :param identify: tells whose key one is.
    :param query: of the request's URL. A key in it is not read, and its sender is told so.
    :raises Unauthorized: no key, or nobody's. :raises AmbiguousCredentials: two keys that differ.
    """
    given = _given(header)
    if given is None:
        raise Unauthorized(
            f"No API key was given. {_elsewhere(header, query)}"
            "Send it as 'Authorization: Bearer KEY', as 'X-API-Key: KEY' or as 'api-key: KEY'."
        )
    return identify(given)


def _elsewhere(header: Header, query: str) -> str:
    """Where else a key was put, if anywhere."""
    if header("x-goog-api-key"):
        return "The header x-goog-api-key is not read. "
    if _KEY_IN_URL(query):
        return "A key in the URL is not read, because URLs are kept in logs. "
    return ""


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
    bearer, key, azure = _bearer(header("Authorization")), header("X-API-Key"), header("api-key")
    given = bearer or key or azure
    if (key and key != given) or (azure and azure != given):
        raise AmbiguousCredentials(
            "Authorization, X-API-Key and api-key carry different keys. "
            "Send one of them, or the same key in each."
        )
    return given or None


def _bearer(authorization: str | None) -> str | None:
    """The key; ``None`` where there is none behind the word either."""
    if not authorization:
        return None
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("The Authorization header is not of the form 'Bearer KEY'.")
    return key.strip() or None
