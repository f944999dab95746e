"""Identifies callers by JSON Web Tokens: the plugin ``jwt`` (docs/jwt.md).

It follows RFC 8725 (best current practices): algorithms and issuer are fixed, keys come from the provider of
the settings alone, and nothing of a token counts before its signature is verified.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from ..model.call import Caller
from ..model.errors import KeyExpired, Unauthorized
from ..plugin import Header
from .claims import ClaimRefused, identity_of
from .current_keys import CurrentKeys
from .kept_keys import KeyFile
from .key_set import is_signed_by
from .options import options_of
from .unverified_token import (
    MalformedToken,
    UnverifiedToken,
    begins_like_token,
    looks_like_token,
    read_unverified,
)
from .verified_tokens import VerifiedToken, VerifiedTokens

_NOTHING: frozenset[bytes] = frozenset()


class JwtAuthenticator:
    """The callers of one issuer (``plugin.Authenticator``). Threads share it.

    :param clock: seconds since the epoch.
    :param options: those of the plugin (``options.py``).
    :raises ConfigError: an option is unknown, missing or unfit.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, **options: Any) -> None:
        checked = options_of(options)
        self._rules, self._algorithms, self._accounts = checked.rules, checked.algorithms, checked.accounts
        file = (
            KeyFile(checked.keep, checked.rules.issuer, checked.provider.key_set_url)
            if checked.keep
            else None
        )
        kept = (file, checked.algorithms) if file else None
        self._keys = CurrentKeys(checked.rules.issuer, checked.provider.fetch, checked.ages, kept, clock)
        self._verified = VerifiedTokens()
        self._clock = clock
        #: The teams that its callers may have.
        self.teams = checked.accounts.teams

    def identify(self, key: str, header: Header) -> Caller | None:
        """The caller of a token; ``None``: the key is no token of this issuer.

        :raises Unauthorized: it is one, and it is not valid.
        :raises KeyExpired: it was valid.
        :raises KeyRevoked: the operator has revoked it.
        :raises AccountNotAllowed: it is valid, and its account may not call.
        :raises KeysUnavailable: the keys of the issuer cannot be had now.
        """
        if not begins_like_token(key):
            return None
        digest, now, trusted = (
            sha256(key.encode("utf-8", "surrogateescape")).digest(),
            self._clock(),
            self._keys.present(),
        )
        known = self._verified.get(digest, now, trusted.fingerprints if trusted else _NOTHING)
        if known is not None:
            return known
        if not looks_like_token(key):
            return None
        try:
            token = read_unverified(key)
        except MalformedToken as error:
            raise _refusal(str(error)) from None
        if token.claims.get("iss") != self._rules.issuer:
            return None
        verified = self._verify(key, token, now)
        self._verified.put(digest, verified)
        return verified.caller

    def close(self) -> None:
        """End the thread that fetches keys."""
        self._keys.stop()

    def _verify(self, key: str, token: UnverifiedToken, now: float) -> VerifiedToken:
        """Verify a token that says it is of this issuer. Claims are checked first: that is cheaper."""
        if token.algorithm not in self._algorithms:
            raise _refusal("its algorithm is not one of those that this gateway accepts")
        try:
            identity = identity_of(token.claims, self._rules, now)
        except ClaimRefused as error:
            if error.expired:
                raise KeyExpired("Your token has expired. Ask your login for a new one.") from None
            raise _refusal(str(error)) from None
        signer = self._keys.find(token.kid, token.algorithm)
        if signer is None:
            raise _refusal("no key of its issuer has signed it")
        if not is_signed_by(key, signer, token.algorithm):
            raise _refusal("its signature is wrong")
        return VerifiedToken(self._accounts.caller_of(identity), identity.expires, signer.fingerprint)


def _refusal(reason: str) -> Unauthorized:
    return Unauthorized(f"This token is not accepted: {reason}. Ask your login for a new one.")
