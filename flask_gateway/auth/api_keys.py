"""API keys and whom they belong to. Keys are known by their SHA-256 digest only."""

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
        self._nobody = bytes(32)

    def identify(self, key: str) -> Caller:
        """Whose key this is.

        The look-up is by the digest of what was presented, so its timing tells nothing about a key;
        the comparison after it takes the same time found or not.

        :raises Unauthorized: nobody's.
        """
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        known = digest if digest in self._by_digest else self._nobody
        if not hmac.compare_digest(known, digest):
            raise Unauthorized("This API key is not known here. Check it for typing errors, or ask for one.")
        return self._by_digest[digest]
