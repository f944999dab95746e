"""Looks up the caller of an API key. The table holds SHA-256 digests only, never keys."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

from ..model.call import Caller
from ..model.errors import Unauthorized


class ApiKeyTable:
    """The table of callers. Immutable, so shared by all threads without a lock."""

    def __init__(self, by_digest: Mapping[bytes, Caller]) -> None:
        self._by_digest = dict(by_digest)
        self._no_digest = bytes(32)

    def identify(self, key: str) -> Caller:
        """The caller that the key belongs to.

        The look-up uses the digest of the presented key, so its timing reveals nothing about known keys. The
        comparison after it takes the same time whether the key is known or not.

        :raises Unauthorized: the key is unknown.
        """
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        known = digest if digest in self._by_digest else self._no_digest
        if not hmac.compare_digest(known, digest):
            raise Unauthorized(
                "This API key is not known here. Check it for typing errors, or ask the operator for one."
            )
        return self._by_digest[digest]
