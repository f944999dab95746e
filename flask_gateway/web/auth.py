"""Authenticates callers by the API key of a request, and decides who may read the metrics."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import parse_qs

from ..dialects import gemini
from ..model.call import Caller
from ..model.errors import AmbiguousCredentials, GatewayError, Unauthorized
from .client_address import FORWARDED, is_loopback
from .paths import canonical
from .request_headers import Header

#: URL parameters in which some APIs accept a key.
_KEY_IN_URL = re.compile(r"(?:^|&)(?:key|api[-_]?key|access_token)=.", re.IGNORECASE).search


def authenticate(
    header: Header, identify: Callable[[str], Caller], query: str = "", path: str = ""
) -> Caller:
    """The caller, by ``Authorization: Bearer``, ``X-API-Key`` or ``api-key`` (which Azure's clients send).

    :param header: returns a header of the request by its name.
    :param identify: returns the caller of a key.
    :param query: of the request's URL. A key in it is read at the paths of Google's
        API alone; elsewhere the error says so. :param path: of the request.
    :raises Unauthorized: there is no key, or it is unknown.
    :raises AmbiguousCredentials: the headers carry different keys.
    """
    key = key_of(header) or _key_elsewhere(header, query, path)
    if key is None:
        raise Unauthorized(
            f"No API key was given. {_misplaced_key(header, query)}"
            "Send it as 'Authorization: Bearer KEY', as 'X-API-Key: KEY' or as 'api-key: KEY'."
        )
    return identify(key)


def _key_elsewhere(header: Header, query: str, path: str) -> str | None:
    """The key in the places that single APIs have for it; ``None`` if there is none."""
    if key := header("x-goog-api-key"):
        return key
    if gemini.is_path(path):
        return next(iter(parse_qs(query).get("key", ())), None)
    if protocols := header("Sec-WebSocket-Protocol"):
        return _key_in_protocol(protocols) if canonical(path) in _SESSIONS else None
    return None


#: How browsers send a key when they open a WebSocket: they can set no other header.
#: https://platform.openai.com/docs/guides/realtime-websocket
_KEY_PROTOCOL = "openai-insecure-api-key."
#: The paths that open a WebSocket. Elsewhere the key in that header counts for nothing.
_SESSIONS = frozenset(("/v1/realtime", "/v1/responses"))


def _key_in_protocol(protocols: str) -> str | None:
    """The key among the subprotocols that a WebSocket asks for; ``None`` if there is none."""
    words = (word.strip() for word in protocols.split(","))
    return next((w.removeprefix(_KEY_PROTOCOL) for w in words if w.startswith(_KEY_PROTOCOL)), None) or None


def _misplaced_key(header: Header, query: str) -> str:
    """A sentence about a key in a place that the gateway does not read; empty if there is none."""
    if _KEY_IN_URL(query):
        return "The gateway does not read a key in the URL, because URLs are kept in logs. "
    return ""


def may_read_metrics(header: Header, peer: str | None, key_digest: bytes | None) -> bool:
    """Whether a request may read the metrics, which cover all callers.

    :param peer: the address it comes from.
    :param key_digest: SHA-256 of the metrics key. If none is set, requests from this machine may, unless a
        proxy forwarded them.
    """
    if key_digest is None:
        return is_loopback(peer) and not any(header(name) for name in FORWARDED)
    try:
        key = key_of(header) or ""
    except GatewayError:
        return False
    return hmac.compare_digest(sha256(key.encode("utf-8", "surrogateescape")).digest(), key_digest)


def key_of(header: Header) -> str | None:
    """The key that the headers carry; ``None`` if there is none.

    :raises AmbiguousCredentials: they carry different keys.
    """
    bearer, own, azure = _bearer(header("Authorization")), header("X-API-Key"), header("api-key")
    key = bearer or own or azure
    if (own and own != key) or (azure and azure != key):
        raise AmbiguousCredentials(
            "Authorization, X-API-Key and api-key carry different keys. "
            "Send one of them, or the same key in each."
        )
    return key or None


def _bearer(authorization: str | None) -> str | None:
    """The bearer key; ``None`` if the header is missing or has no key after ``Bearer``."""
    if not authorization:
        return None
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("The Authorization header must be of the form 'Bearer KEY'.")
    return key.strip() or None
