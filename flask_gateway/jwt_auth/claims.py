"""Checks the claims of a token: issuer, audience, times, and what the settings require. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

#: The longest ``sub``, characters: OpenID Connect Core 1.0, 2.
MOST_SUBJECT = 255
#: The most groups of a token that are read.
MOST_GROUPS = 1000


class ClaimRefused(ValueError):
    """A claim does not fit. ``str()`` is half a sentence.

    :param expired: the token was good, and its time is over.
    """

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.expired = expired


class ClaimRules(NamedTuple):
    """The claims that a token must have.

    :param issuer: the exact ``iss``. :param audiences: ``aud`` must name one of them.
    :param leeway: by how much the clocks may differ, seconds.
    :param subject: the claim that identifies the caller. :param groups: that of its groups.
    :param required: further claims with their values.
    """

    issuer: str
    audiences: frozenset[str]
    leeway: float = 60.0
    subject: str = "sub"
    groups: str = "groups"
    required: Mapping[str, Any] = {}


class Identity(NamedTuple):
    """The caller that a token describes.

    :param expires: when the token ends with the leeway, seconds since the epoch.
    :param token: the id of the token itself (``jti``), empty if it has none.
    """

    subject: str
    groups: tuple[str, ...]
    expires: float
    token: str = ""


def identity_of(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> Identity:
    """The identity in the claims of a token.

    :param now: seconds since the epoch.
    :raises ClaimRefused: one of them does not fit.
    """
    if claims.get("iss") != rules.issuer:
        raise ClaimRefused("its issuer is another one")
    if rules.audiences.isdisjoint(_texts(claims.get("aud"))):
        raise ClaimRefused("it is for another audience")
    expires = _expiry(claims, rules.leeway, now)
    for name, value in rules.required.items():
        found = _at(claims, name)
        if type(found) is not type(value) or found != value:
            raise ClaimRefused(f"its claim '{name}' is not the one that this gateway requires")
    subject = _at(claims, rules.subject)
    if not isinstance(subject, str) or not 0 < len(subject) <= MOST_SUBJECT:
        raise ClaimRefused(f"its claim '{rules.subject}' names nobody")
    token = claims.get("jti")
    groups = tuple(_texts(_at(claims, rules.groups)))
    return Identity(subject, groups, expires, token if isinstance(token, str) else "")


def _expiry(claims: Mapping[str, Any], leeway: float, now: float) -> float:
    """When the token ends. RFC 7519, 4.1.4 to 4.1.6; a token without an end is refused."""
    expires = _moment(claims, "exp")
    if expires is None:
        raise ClaimRefused("it has no end ('exp')")
    if now >= expires + leeway:
        raise ClaimRefused("it has expired", expired=True)
    for name in ("nbf", "iat"):
        begins = _moment(claims, name)
        if begins is not None and now < begins - leeway:
            raise ClaimRefused(f"it is not valid yet ('{name}')")
    return expires + leeway


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is a NumericDate, seconds since the epoch; ``None``: it is missing."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ClaimRefused(f"its '{name}' is no time")
    return float(value)


def _texts(value: object) -> list[str]:
    """A claim that is one text or a list of texts. Everything else is left out."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return []
    return [text for text in value[:MOST_GROUPS] if isinstance(text, str)]


def _at(claims: Mapping[str, Any], path: str) -> object:
    """The claim of that name, or at that path: ``realm_access.roles`` is that of Keycloak.

    Names with dots, such as the URLs that Auth0 wants, are looked up as they are first.
    """
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found
