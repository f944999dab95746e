"""Remembers which upstream made which response, so that a follow-up is sent to the same upstream.

The memory is in the store that the workers share. It has a fixed number of buckets. Each holds pairs, oldest
first: the digest of an id and the digest of an upstream's name. A full bucket drops its oldest pair.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..guards.pauses import digest_of
from ..state.store import Store, Value

#: Together they hold at least the last ten thousand ids or so.
BUCKETS, PAIRS = 128, 128
#: A bucket expires this long after its last addition, seconds. OpenAI keeps responses for 30 days.
LIFETIME = 30 * 24 * 3600.0


class Origins:
    """Maps ids of stored objects to the upstreams that hold them. Shared by all threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def remember(self, ids: Iterable[str], upstream: str) -> None:
        """Remember that the upstream made the objects with these ids."""
        for identifier in ids:
            self._remember(digest_of(identifier), digest_of(upstream))

    def _remember(self, digest: int, upstream: int) -> None:
        def change(value: Value | None, now: int) -> tuple[Value | None, None]:
            pairs = value or ()
            if _find(pairs, digest) == upstream:
                return value, None
            return (*pairs[-2 * (PAIRS - 1) :], digest, upstream), None

        self._store.update(_bucket(digest), change, LIFETIME)

    def upstream_of(self, name: str, upstreams: Iterable[str]) -> str | None:
        """The one of ``upstreams`` that made the object with this id; ``None`` if that is not known."""
        digest = digest_of(name)
        holder = _find(self._store.read(_bucket(digest)) or (), digest)
        return next((upstream for upstream in upstreams if digest_of(upstream) == holder), None)


def _bucket(digest: int) -> str:
    return f"origins:{digest % BUCKETS}"


def _find(pairs: Value, digest: int) -> int | None:
    """The upstream's digest in the newest pair for that id."""
    for index in range(len(pairs) - 2, -1, -2):
        if pairs[index] == digest:
            return pairs[index + 1]
    return None
