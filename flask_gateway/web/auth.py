"""From a request's credentials to its caller."""

from __future__ import annotations

from collections.abc import Callable

from ..callers import Callers
from ..core import Caller
from ..errors import AmbiguousCredentials, Unauthorized


def authenticate(header: Callable[[str], str | None], callers: Callers) -> Caller:
    """Who is asking, by ``X-API-Key`` or ``Authorization: Bearer``.

    :param header: gives a header of the request by its name.
    :raises Unauthorized: no key, or nobody's. :raises AmbiguousCredentials: two keys that differ.
    """
    key = header("X-API-Key")
    bearer = _bearer(header("Authorization"))
    if key is not None and bearer is not None and key != bearer:
        raise AmbiguousCredentials(
            "X-API-Key and Authorization carry different keys. Send one of them, or the same key in both."
        )
    given = bearer if key is None else key
    if given is None:
        raise Unauthorized(
            "No API key was given. Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'."
        )
    return callers.identify(given)


def _bearer(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("The Authorization header is not of the form 'Bearer KEY'.")
    return key.strip()
