"""Remembers verified tokens until they end, so that a signature is verified once per process."""

from __future__ import annotations

import threading
from typing import NamedTuple

from ..model.call import Caller

#: The most tokens that are remembered. The oldest one goes first.
MOST = 4096


class VerifiedToken(NamedTuple):
    """The result for one token.

    :param expires: seconds since the epoch. :param fingerprint: of the key that signed it.
    """

    caller: Caller
    expires: float
    fingerprint: bytes


class VerifiedTokens:
    """Verified tokens by the SHA-256 digests of the whole tokens, signature included. Threads share it."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[bytes, VerifiedToken] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: bytes, now: float, trusted: frozenset[bytes]) -> Caller | None:
        """The caller of a token; ``None``: it is not known, has ended, or its key is trusted no more.

        :param now: seconds since the epoch. :param trusted: the fingerprints of the present keys.
        """
        known = self._known.get(digest)
        if known is None or now >= known.expires or known.fingerprint not in trusted:
            return None
        return known.caller

    def put(self, digest: bytes, verified: VerifiedToken) -> None:
        with self._lock:
            self._known.pop(digest, None)
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[digest] = verified
